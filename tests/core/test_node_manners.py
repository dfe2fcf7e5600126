"""What a device does beside its update: its clock, its network, its attributes, and answers that it did not expect."""

import pytest

from chf.gbcs import GbcsMessage, parse_payload
from devices.nodes import events
from devices.nodes.ota_states import State
from devices.wire import ota, tunneling, zcl
from devices.wire.zcl import General, Status, ZclFrame
from tests.support.model_hub import NEW, OLD, START_UTC, Rig, image

NO_TIME_SERVER = (ota.CLUSTER,)


def test_without_an_answer_from_the_time_server_the_alert_bears_its_own_clock() -> None:
    rig = Rig.on(hub={"clusters": NO_TIME_SERVER}, hub_image=image(), clock_at_start=START_UTC)
    rig.run_until(lambda: rig.device.file_version() == NEW)
    booted = rig.queue.now
    rig.run_until(lambda: rig.saw(events.AlertMade))
    assert 15 < rig.queue.now - booted < 30, "it gives the time server its three chances"
    (made,) = rig.recorder.all(events.AlertMade)
    alert = parse_payload(GbcsMessage.from_bytes(made.message))
    assert abs(alert.utc_s - 946_684_800 - START_UTC - rig.queue.now) < 2


def test_a_time_server_that_comes_late_is_still_asked() -> None:
    rig = Rig.on(100, hub={"clusters": NO_TIME_SERVER})
    assert rig.device.clock.known(rig.queue.now) is None
    rig.hub.clusters = (ota.CLUSTER, 0x000A)
    rig.run(600)
    assert rig.device.clock.known(rig.queue.now) == pytest.approx(START_UTC + rig.queue.now, abs=1)


def test_a_time_server_without_the_time_sets_no_clock() -> None:
    rig = Rig.on(1, hub={"clusters": NO_TIME_SERVER})
    for payload in (bytes.fromhex("000086"), bytes.fromhex("000000e2ffffffff"), b"\0"):
        frame = ZclFrame(1, General.READ_ATTRIBUTES_RESPONSE, payload, cluster_specific=False, from_server=True)
        rig.stack.deliver(0x000A, frame)
    frame = ZclFrame(
        1, General.READ_ATTRIBUTES_RESPONSE, bytes.fromhex("000000e200000010"), cluster_specific=False, from_server=True
    )
    rig.stack.deliver(0x000A, frame, source=0x4321)
    rig.run(1)
    assert rig.device.clock.known(rig.queue.now) is None
    assert rig.hub.default_responses == []


def test_a_device_that_was_removed_stops_and_goes_on_when_it_is_let_in_again() -> None:
    rig = Rig.on(hub_image=image(), think_time_s=0.05)
    rig.run_until(lambda: len(rig.hub.blocks) > 5)
    rig.stack.joined = False
    rig.device.left()
    assert rig.device.clusters[ota.CLUSTER].state is State.OFF
    sent = len(rig.stack.sent)
    rig.run(100)
    assert len(rig.stack.sent) == sent
    offset = rig.hub.blocks[-1].offset
    rig.stack.join()
    rig.run_until(lambda: rig.device.file_version() == NEW)
    assert all(block.offset >= offset for block in rig.hub.blocks[6:])


def test_off_the_network_nothing_is_sent_and_an_alert_goes_on_when_the_device_is_back() -> None:
    rig = Rig.on(60, hub={"takes_alerts": False}, hub_image=image())
    rig.open_tunnel()
    rig.stack.joined = False
    rig.device.left()
    sent = len(rig.stack.sent)
    rig.run(3 * 86_400)  # `WireStack` takes nothing while it is off the network
    assert len(rig.stack.sent) == sent
    rig.hub.takes_alerts = True
    rig.stack.join()
    rig.open_tunnel(after_s=5)
    assert len(rig.recorder.all(events.AlertTaken)) == 1


def test_a_failed_join_is_told() -> None:
    rig = Rig()
    rig.device.join_failed("nobody there")
    assert rig.recorder.events == [events.JoinFailed("nobody there")]


def test_a_message_out_of_the_tunnel_is_told() -> None:
    rig = Rig.on(1)
    rig.open_tunnel()
    transfer = tunneling.TransferData(rig.hub.tunnel_id, b"\xdf\x09")
    rig.hub.command(0x02, transfer.to_bytes(), cluster=tunneling.CLUSTER, from_server=False, quiet=False)
    rig.run(1)
    assert rig.recorder.all(events.MessageReceived) == [events.MessageReceived(b"\xdf\x09")]
    assert rig.hub.default_responses == [(tunneling.CLUSTER, zcl.DefaultResponse(0x02, Status.SUCCESS))]


def test_a_message_that_is_being_sent_is_not_begun_again_when_the_clock_is_set() -> None:
    rig = Rig.on(60, hub={"takes_alerts": False}, hub_image=image())
    rig.open_tunnel()
    assert rig.recorder.all(events.AlertSent) == [events.AlertSent(1)]
    record = zcl.attribute_record(0, zcl.Attribute(0, zcl.DataType.UTC_TIME, START_UTC))
    rig.stack.deliver(0x000A, ZclFrame(1, General.READ_ATTRIBUTES_RESPONSE, record, False, True))
    rig.run(1)
    assert rig.recorder.all(events.AlertSent) == [events.AlertSent(1)]


def test_a_tunnel_from_before_a_reboot_is_stale() -> None:
    rig = Rig.on(1)
    rig.open_tunnel()
    stale = rig.hub.tunnel_id
    rig.device.reboot()
    rig.open_tunnel(after_s=5)
    assert rig.hub.tunnel_id != stale
    rig.hub.command(0x02, tunneling.TransferData(stale, b"x").to_bytes(), cluster=tunneling.CLUSTER, from_server=False)
    rig.run(1)
    error = rig.hub.tunnel_frames[-1]
    assert error.command == tunneling.ServerCommand.TRANSFER_DATA_ERROR
    assert error.payload == tunneling.TransferDataError(stale, 0).to_bytes()


def test_manufacturer_specific_frames_are_for_somebody_else() -> None:
    rig = Rig.on(5)
    rig.stack.deliver(ota.CLUSTER, ZclFrame(1, 0x00, b"\0\x64", from_server=True, manufacturer=0x1037))
    rig.stack.deliver(
        0x0000, ZclFrame(2, General.READ_ATTRIBUTES, b"\x04\0", cluster_specific=False, manufacturer=0x1037)
    )
    rig.run(1)
    assert rig.hub.default_responses == [(ota.CLUSTER, zcl.DefaultResponse(0x00, Status.UNSUP_MANUF_CLUSTER_COMMAND))]
    assert rig.hub.read[0x0000] == {}


def test_a_default_response_is_never_answered() -> None:
    rig = Rig.on(0.5, hub_image=image())
    sent = len(rig.stack.sent)
    for cluster in (0x0000, 0x000A, ota.CLUSTER, tunneling.CLUSTER, 0x0500):
        for payload in (b"\x01\x00", b"\x01\x86", b"\x01"):
            frame = ZclFrame(1, General.DEFAULT_RESPONSE, payload, cluster_specific=False, from_server=True)
            rig.stack.deliver(cluster, frame)
            rig.stack.deliver(cluster, frame, secured=False)
    rig.run(0.05)
    assert len(rig.stack.sent) == sent


def test_a_query_that_is_refused_by_a_default_response_is_asked_again_later() -> None:
    rig = Rig.on(hub_image=image())
    rig.run_until(lambda: rig.device.clusters[ota.CLUSTER].state is State.QUERYING)
    frame = ZclFrame(1, General.DEFAULT_RESPONSE, b"\x01\x81", cluster_specific=False, from_server=True)
    rig.stack.impair = lambda _payload: (0.0,)
    rig.stack.deliver(ota.CLUSTER, frame)
    rig.queue.run_until(rig.queue.now)
    assert rig.device.clusters[ota.CLUSTER].state is State.IDLE
    assert rig.device.file_version() == OLD
