"""A PPMID from power-on to the alert, over a stack without a radio."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf.gbcs import GbcsMessage, PpmidFirmwareActivationAlert, parse_payload, verify_signature
from devices.nodes import events
from devices.nodes.personalities import SPEC_STRICT_NO_TIME
from devices.nodes.settings import AlertFault, EndFault, Faults
from devices.stack.interface import HOME_AUTOMATION_PROFILE
from devices.wire import ota, tunneling, zcl
from devices.wire.zcl import General, Status, ZclFrame
from tests.support.model_hub import HARDWARE, NEW, OLD, SIGNING_KEY, START_UTC, Rig, image


def updated(**changes) -> Rig:
    """A rig in which the update ran to its end and the tunnel is open."""
    rig = Rig.on(60, hub_image=image(), **changes)
    rig.open_tunnel()
    return rig


def alert_of(message: bytes) -> PpmidFirmwareActivationAlert:
    payload = parse_payload(GbcsMessage.from_bytes(message))
    assert isinstance(payload, PpmidFirmwareActivationAlert)
    return payload


def test_an_update_from_join_to_alert() -> None:
    rig = updated()
    assert rig.device.file_version() == NEW
    told = [type(event).__name__ for event in rig.recorder.events]
    start = ["Booted", "Joined", "ServerFound"]
    download = ["DownloadStarted", "DownloadComplete", "Activating"]
    expected = [*start, *download, *start, "AlertMade", "TunnelOpened", "AlertSent", "AlertTaken"]
    assert [name for name in told if name != "DownloadProgress"] == expected
    first, last = rig.hub.queries[0], rig.hub.queries[-1]
    assert (first.image.file_version, first.hardware_version) == (OLD, HARDWARE)
    assert last.image.file_version == NEW
    assert [end.status for end in rig.hub.ends] == [0]


def test_the_alert_is_signed_by_the_device_and_tells_version_time_and_success() -> None:
    (message,) = updated().hub.alerts
    parsed = GbcsMessage.from_bytes(message)
    assert verify_signature(parsed, SIGNING_KEY.public_key())
    assert (parsed.header.originator, parsed.header.recipient) == (0x00DB1234567890A4, 0x90B3D51F30000002)
    alert = alert_of(message)
    assert (alert.firmware_version, alert.result) == (NEW, 0)
    assert 0 < alert.utc_s - 946_684_800 - START_UTC < 60


def test_without_a_time_server_the_alert_bears_the_devices_own_clock() -> None:
    rig = updated(personality=SPEC_STRICT_NO_TIME, clock_at_start=START_UTC + 10_000)
    assert alert_of(rig.hub.alerts[0]).utc_s - 946_684_800 - START_UTC >= 10_000


def test_every_request_of_the_link_key_clusters_is_secured_and_from_its_own_endpoint() -> None:
    rig = updated()
    assert {request.secured for request in rig.stack.sent} == {True}
    assert {(request.profile, request.source_endpoint, request.destination_endpoint) for request in rig.stack.sent} == {
        (0x0109, 0x03, 0x0B)
    }


def test_download_by_page_fills_its_gaps_block_by_block() -> None:
    rig = Rig.on(hub={"page_gap": 7}, hub_image=image(body_bytes=5000), page_bytes=1000, page_spacing_ms=10)
    rig.run_until(lambda: rig.device.file_version() == NEW)
    assert len(rig.hub.pages) == 6
    assert 0 < len(rig.hub.blocks) <= 15
    assert all(block.maximum_bytes <= 50 for block in rig.hub.blocks)


def test_a_hub_without_pages_gets_block_requests() -> None:
    rig = Rig.on(hub={"serves_pages": False}, hub_image=image(), page_bytes=1000)
    rig.run_until(lambda: rig.device.file_version() == NEW)
    assert not rig.hub.pages
    assert len(rig.hub.blocks) == -(-3060 // 50)


def test_it_goes_on_behind_its_last_full_sector_after_a_reboot_in_mid_download() -> None:
    rig = Rig.on(hub_image=image(body_bytes=6000), think_time_s=0.01)
    rig.run_until(lambda: bool(rig.hub.blocks) and rig.hub.blocks[-1].offset > 4500)
    rig.device.reboot()
    rig.hub.blocks.clear()
    rig.run_until(lambda: bool(rig.hub.blocks))
    assert rig.hub.blocks[0].offset == 4100
    rig.run_until(lambda: rig.device.file_version() == NEW)


def test_it_survives_a_hub_that_is_silent_for_a_day() -> None:
    rig = Rig.on(hub_image=image(body_bytes=6000), think_time_s=0.01)
    rig.run_until(lambda: bool(rig.hub.blocks) and rig.hub.blocks[-1].offset > 3000)
    rig.hub.silent = True
    rig.run(86400)
    rig.hub.silent = False
    rig.hub.blocks.clear()
    rig.run_until(lambda: rig.device.file_version() == NEW)
    assert rig.hub.blocks[0].offset > 3000


def test_retries_have_new_sequence_numbers() -> None:
    rig = Rig.on(30, hub={"upgrade_time": None}, hub_image=image())
    ends = [ZclFrame.from_bytes(each.payload).sequence for each in rig.stack.sent if each.payload[2] == 6]
    assert len(ends) == 3
    assert len(set(ends)) == 3


@pytest.mark.parametrize("cluster", [ota.CLUSTER, tunneling.CLUSTER, 0x000A])
def test_an_unsecured_frame_is_refused_and_counted(cluster) -> None:
    rig = Rig.on(5)
    rig.hub.command(0x07, bytes(16), cluster=cluster, secured=False)
    rig.run(1)
    assert rig.hub.default_responses == [(cluster, zcl.DefaultResponse(0x07, Status.FAILURE))]
    assert rig.stack.sent[-1].secured is False
    assert rig.recorder.all(events.UnsecuredRefused) == [events.UnsecuredRefused(cluster, 1)]


def test_only_a_broadcast_notify_may_be_unsecured() -> None:
    rig = Rig.on(5)
    asked = len(rig.hub.queries)
    rig.hub.notify(secured=False, destination=0xFFFD)
    rig.run(1)
    assert len(rig.hub.queries) == asked + 1
    rig.hub.notify(secured=False)
    rig.hub.command(0x07, bytes(16), secured=False, destination=0xFFFD)
    rig.run(1)
    assert len(rig.hub.queries) == asked + 1
    assert rig.device.unsecured_refused == 2


def test_other_profiles_endpoints_and_sources_get_nothing() -> None:
    rig = Rig.on(5)
    sent = len(rig.stack.sent)
    rig.hub.notify(profile=0x0104)
    rig.hub.notify(endpoint=0x01)
    rig.run(1)
    assert len(rig.stack.sent) == sent
    rig.hub.notify(source=0x4321)
    rig.run(1)
    assert rig.hub.default_responses == [(ota.CLUSTER, zcl.DefaultResponse(0, Status.NOT_AUTHORIZED))]


def test_the_attributes_tell_what_runs_and_what_goes_on() -> None:
    rig = Rig.on(hub={"upgrade_time": (0, 0xFFFFFFFF)}, hub_image=image())
    rig.run_until(lambda: rig.saw(events.Held))
    identifiers = ota.AttributeId
    expected = {
        identifiers.CURRENT_FILE_VERSION: OLD,
        identifiers.DOWNLOADED_FILE_VERSION: NEW,
        identifiers.IMAGE_UPGRADE_STATUS: ota.ImageUpgradeStatus.WAITING_TO_UPGRADE,
        identifiers.FILE_OFFSET: 3060,
    }
    rig.hub.read_attributes(ota.CLUSTER, *expected, 0x7777, from_server=True)
    rig.hub.read_attributes(ota.CLUSTER, identifiers.UPGRADE_SERVER_ID, from_server=True)
    rig.hub.read_attributes(0x0000, 0x0004, 0x0005)
    rig.hub.read_attributes(tunneling.CLUSTER, tunneling.CLOSE_TUNNEL_TIMEOUT)
    rig.run(1)
    assert rig.hub.read[tunneling.CLUSTER] == {0: 0xFFFF}
    assert rig.hub.read[ota.CLUSTER] == expected | {identifiers.UPGRADE_SERVER_ID: 0xC0FFEE}
    assert rig.hub.read[0x0000] == {0x0004: "Emulated", 0x0005: "PPMID"}


def test_the_direction_bit_of_an_answer_is_the_other_one() -> None:
    for strict in (True, False):
        rig = Rig.on(5, aps_security_required=strict)
        for cluster, from_server in ((ota.CLUSTER, True), (0x0000, False)):
            rig.hub.read_attributes(cluster, 0x0000, from_server=from_server)
            rig.run(1)
            assert ZclFrame.from_bytes(rig.stack.sent[-1].payload).from_server is not from_server
        rig.hub.read_attributes(ota.CLUSTER, 0x0002, from_server=False)
        rig.run(1)
        assert bool(rig.hub.default_responses) is strict


def test_home_automation_hosts_get_an_unsecured_device_on_profile_0104() -> None:
    rig = updated(profile=HOME_AUTOMATION_PROFILE, aps_security_required=False, endpoint=1)
    assert rig.device.file_version() == NEW
    assert {(request.profile, request.secured) for request in rig.stack.sent} == {(HOME_AUTOMATION_PROFILE, False)}
    endpoint = rig.stack.endpoints[1]
    assert (endpoint.profile, ota.CLUSTER in endpoint.client_clusters) == (HOME_AUTOMATION_PROFILE, True)


def test_unknown_clusters_commands_and_general_commands_are_answered() -> None:
    rig = Rig.on(5)
    rig.hub.command(0x00, b"", cluster=0x0500)
    rig.hub.command(0x55, b"")
    rig.hub.command(0x07, b"short")
    frame = ZclFrame(9, General.DEFAULT_RESPONSE + 1, b"", cluster_specific=False)
    rig.stack.deliver(0x0000, frame)
    rig.run(1)
    assert rig.hub.default_responses == [
        (0x0500, zcl.DefaultResponse(0x00, Status.UNSUPPORTED_CLUSTER)),
        (ota.CLUSTER, zcl.DefaultResponse(0x55, Status.UNSUP_CLUSTER_COMMAND)),
        (ota.CLUSTER, zcl.DefaultResponse(0x07, Status.MALFORMED_COMMAND)),
        (0x0000, zcl.DefaultResponse(0x0C, Status.UNSUP_GENERAL_COMMAND)),
    ]


# Faults.


@pytest.mark.parametrize("fault", list(EndFault))
def test_a_download_that_ends_badly_is_reported_and_not_run(fault) -> None:
    rig = Rig.on(60, hub_image=image(), faults=Faults(end=fault))
    assert [end.status for end in rig.hub.ends] == [fault.value]
    assert rig.device.file_version() == OLD
    assert not rig.saw(events.Activating)


def test_firmware_that_does_not_boot_is_rolled_back_and_the_alert_says_failure() -> None:
    rig = Rig.on(hub_image=image(), faults=Faults(firmware_does_not_boot=True))
    rig.run_until(lambda: rig.saw(events.Activating))
    rig.hub.image = None
    rig.open_tunnel(after_s=60)
    assert rig.device.file_version() == OLD
    assert rig.recorder.all(events.Booted)[-1].rolled_back
    alert = alert_of(rig.hub.alerts[0])
    assert (alert.firmware_version, alert.result) == (OLD, 1)


def test_a_device_that_reverts_says_success_and_runs_the_old_version() -> None:
    rig = updated(faults=Faults(reverts_after_activation=True))
    assert rig.device.file_version() == OLD
    assert rig.hub.queries[-1].image.file_version == OLD
    alert = alert_of(rig.hub.alerts[0])
    assert (alert.firmware_version, alert.result) == (NEW, 0)


def test_alert_faults() -> None:
    assert alert_of(updated(faults=Faults(alert=AlertFault.FAILURE)).hub.alerts[0]).result == 1
    assert updated(faults=Faults(alert=AlertFault.NEVER)).hub.alerts == []
    twice = updated(faults=Faults(alert=AlertFault.TWICE)).hub.alerts
    assert len(twice) == 2
    assert twice[0] == twice[1]
    assert alert_of(updated(faults=Faults(alert=AlertFault.WRONG_VERSION)).hub.alerts[0]).firmware_version != NEW
    forged = GbcsMessage.from_bytes(updated(faults=Faults(alert=AlertFault.BAD_SIGNATURE)).hub.alerts[0])
    assert not verify_signature(forged, SIGNING_KEY.public_key())


def test_a_stalled_device_asks_for_nothing_more() -> None:
    rig = Rig.on(86400, hub_image=image(), faults=Faults(stalls_at_offset=1000))
    assert rig.hub.blocks[-1].offset == 950


def test_a_device_that_ignores_the_upgrade_time_activates_at_once() -> None:
    rig = Rig.on(60, hub={"upgrade_time": (0, 0xFFFFFFFF)}, hub_image=image(), faults=Faults(ignores_upgrade_time=True))
    assert rig.device.file_version() == NEW


# The alert and its tunnel.


def test_an_alert_that_is_not_taken_is_sent_again_with_the_same_octets_over_reboots() -> None:
    rig = Rig.on(hub_image=image())
    rig.run_until(lambda: rig.saw(events.AlertMade))
    rig.hub.takes_alerts = False
    rig.hub.open_tunnel()
    rig.run(100)
    rig.device.reboot()
    rig.run(10)
    rig.hub.open_tunnel()
    rig.run(100)
    sent = [frame for frame in rig.hub.tunnel_frames if frame.command == tunneling.ServerCommand.TRANSFER_DATA]
    assert len(sent) > 4
    assert len({frame.payload[2:] for frame in sent}) == 1
    assert len({frame.sequence for frame in sent}) == len(sent)
    rig.hub.takes_alerts = True
    rig.run_until(lambda: rig.saw(events.AlertTaken))
    rig.run(3600)
    assert len(rig.hub.alerts) == 1
    assert len(rig.recorder.all(events.AlertMade)) == 1


def test_an_alert_waits_for_a_tunnel_and_leaves_as_soon_as_there_is_one() -> None:
    rig = Rig.on(3600, hub_image=image())
    assert not rig.hub.alerts
    rig.hub.open_tunnel()
    rig.run(0.1)
    assert len(rig.hub.alerts) == 1


def test_counters_of_two_updates_differ() -> None:
    rig = updated(first_counter=5000)
    rig.hub.image = image(NEW + 1, seed=2)
    rig.hub.notify()
    rig.open_tunnel(after_s=60)
    assert [event.counter for event in rig.recorder.all(events.AlertMade)] == [5000, 5001]
    assert rig.device.file_version() == NEW + 1


def test_a_sleepy_device_polls_fast_only_while_it_expects_an_answer() -> None:
    rig = Rig.on(5, poll_interval_s=5.0)
    assert rig.stack.poll_intervals == [5.0, 0.1, 5.0, 0.1, 5.0]  # the time, then the query


def test_power_off_is_silence_and_power_on_is_idempotent() -> None:
    rig = Rig.on(hub_image=image())
    rig.device.power_on()
    rig.run(1)
    rig.device.power_off()
    sent = len(rig.stack.sent)
    rig.run(3600)
    assert len(rig.stack.sent) == sent
    rig.device.power_on()
    rig.run(60)
    assert rig.device.file_version() == NEW


def test_another_key_does_not_verify_the_alert() -> None:
    (message,) = updated().hub.alerts
    other = ec.derive_private_key(2, ec.SECP256R1()).public_key()
    assert not verify_signature(GbcsMessage.from_bytes(message), other)
