"""Devices that do something wrong, or only otherwise, on one hub: how each of their updates ends, and what is told."""

import pytest

from chf.eui64 import parse_eui64
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick

pytestmark = pytest.mark.timeout(120)


def device(number: int) -> str:
    return f"00-DB-12-34-56-78-91-{number:02X}"


FLEET = {
    "plain": {},
    "by pages": {"page": True, "page_bytes": 512, "page_spacing_ms": 1},
    "small blocks": {"block_size": 17},
    "larger blocks than a frame takes": {"block_size": 200},
    "sleepy": {"poll_interval_s": 0.2},
    "does not boot": {"faults": {"firmware_does_not_boot": True}},
    # Its alert is there before its next query, to which it would be offered the image again.
    "reverts": {"faults": {"reverts_after_activation": True}, "query_delay_s": 30.0},
    "finds the image invalid": {"faults": {"end": "invalid-image"}},
    "aborts": {"faults": {"end": "abort"}},
    "hardware too old": {"hardware_version": 0x00FF},
    "says nothing": {"faults": {"alert": "never"}},
    "says it twice": {"faults": {"alert": "twice"}},
    "signs badly": {"faults": {"alert": "bad-signature"}},
    "reports failure": {"faults": {"alert": "failure"}},
    "without link key security": {
        "aps_security": False,
        "query_interval_s": 1.7,
    },  # one refusal in half a second is told
    "telink": {"personality": "telink"},
    "silicon-labs": {"personality": "silicon-labs"},
}
NAMES = {name: device(number) for number, name in enumerate(FLEET)}
WELL = ("plain", "by pages", "small blocks", "larger blocks than a frame takes", "sleepy", "telink", "silicon-labs")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fleet")
    scenario = "".join(quick(NAMES[name], **{"hardware_version": 0x0101, **how}) for name, how in FLEET.items())
    with bench(directory, scenario) as desk:
        desk.start_hub(config="[updates]\nverify_s = 60.0\nread_interval_s = 1.0\n")
        desk.pki.issue(parse_eui64(NAMES["plain"]))
        desk.pki.issue(parse_eui64(NAMES["signs badly"]))
        secured = [name for name in NAMES if name != "without link key security"]
        desk.admit(*(NAMES[name] for name in secured))
        desk.admit(NAMES["without link key security"], joined=False)
        desk.dongle.command(do="reboot", eui64=NAMES["without link key security"])
        image = image_file(directory / "new.ota", size_bytes=6000, hardware=(0x0100, 0x01FF))
        several = [part for name in NAMES for part in ("--device", NAMES[name])]
        started = desk.chf("update", "start", *several, "--image", str(image), "--json").json["started"]
        numbers = {line["device"]: line["update"] for line in started}
        updates = {name: numbers[eui64] for name, eui64 in NAMES.items()}
        desk.until(lambda: all(not desk.update(updates[name]).active for name in secured), "all updates to end", 60.0)
        desk.until(lambda: len(desk.alerts("CS09")) >= 12, "the alerts of those who speak")
        yield desk, updates


def told(desk, name, use_case):
    """(outcome, alert code) of every alert about this device."""
    return [(alert.outcome, alert.alert_code) for alert in desk.alerts(use_case, NAMES[name])]


@pytest.mark.parametrize("name", WELL)
def test_a_device_that_does_as_it_should(fleet, name):
    desk, updates = fleet
    update = desk.update(updates[name])
    assert (update.state, update.reason) == (UpdateState.ACTIVATED, "")
    assert told(desk, name, "CCS08") == [("success", 0x8F8A)]
    assert told(desk, name, "CS09") == [("success", 0x8F8B)]
    shown = desk.chf("device", "show", NAMES[name], "--json").json
    assert shown["device"]["images"][0]["file_version"] == "0x00000002"
    assert shown["device"]["refused_frames"] == 0


def test_a_new_firmware_that_does_not_boot_is_a_failure_with_both_sides_of_it(fleet):
    desk, updates = fleet
    update = desk.update(updates["does not boot"])
    assert update.state is UpdateState.FAILED
    assert update.reason == "the device reported failure, and runs version 0x00000001"
    assert told(desk, "does not boot", "CCS08") == [("success", 0x8F8A)]
    assert told(desk, "does not boot", "CS09") == [("failure", 0x8F8B)]


def test_a_device_that_reports_success_and_runs_the_old_version_has_reverted(fleet):
    desk, updates = fleet
    update = desk.update(updates["reverts"])
    assert update.state is UpdateState.REVERTED
    assert update.reason == "the device reported success, and runs version 0x00000001"
    assert told(desk, "reverts", "CS09") == [("success", 0x8F8B)]


@pytest.mark.parametrize("name", ["finds the image invalid", "aborts"])
def test_an_image_that_the_device_discards(fleet, name):
    desk, updates = fleet
    update = desk.update(updates[name])
    assert update.state is UpdateState.FAILED
    assert update.reason
    (alert,) = desk.alerts("CCS08", NAMES[name])
    assert (alert.alert_code, response_code(alert)) == (0x8F89, 3)
    assert told(desk, name, "CS09") == []


def test_a_hardware_version_out_of_range(fleet):
    desk, updates = fleet
    update = desk.update(updates["hardware too old"])
    assert update.state is UpdateState.FAILED
    assert "hardware" in update.reason
    (alert,) = desk.alerts("CCS08", NAMES["hardware too old"])
    assert (alert.alert_code, response_code(alert)) == (0x8F89, 2)


def response_code(alert) -> int:
    """The INTEGER that ends the payload of a CCS08, before its signature of 64 octets and their length."""
    assert alert.message[-68:-66] == b"\x02\x01"
    return alert.message[-66]


def test_a_device_that_never_sends_its_alert_is_read_back(fleet):
    desk, updates = fleet
    assert desk.update(updates["says nothing"]).state is UpdateState.ACTIVATED
    assert told(desk, "says nothing", "CS09") == []


def test_an_alert_that_comes_twice_is_one_alert(fleet):
    desk, updates = fleet
    assert desk.update(updates["says it twice"]).state is UpdateState.ACTIVATED
    assert told(desk, "says it twice", "CS09") == [("success", 0x8F8B)]


def test_an_alert_with_a_bad_signature_is_relayed_and_said_to_be_bad(fleet):
    desk, updates = fleet
    assert (
        desk.update(updates["signs badly"]).state is UpdateState.ACTIVATED
    )  # because of the read-back, not of the alert
    (alert,) = desk.alerts("CS09", NAMES["signs badly"])
    assert not alert.verified
    alarms = [event.fields["reason"] for event in desk.events(Kind.ALARM)]
    assert any("signature is not its originator's" in str(reason) for reason in alarms)


def test_a_failure_alert_of_a_device_that_runs_the_new_version(fleet):
    desk, updates = fleet
    update = desk.update(updates["reports failure"])
    assert update.state is UpdateState.ACTIVATED
    # The read-back may come before the alert, and an end's reason is final.
    assert update.reason in {"", "the device reported failure, and runs the new version"}
    assert told(desk, "reports failure", "CS09") == [("failure", 0x8F8B)]


def test_ota_without_link_key_security_gets_nothing_and_is_counted(fleet):
    desk, updates = fleet
    name = NAMES["without link key security"]

    def refused():
        return [event for event in desk.events(Kind.FRAME_REFUSED) if event.device == parse_eui64(name)]

    desk.until(
        lambda: "0x0019" in {event.fields["cluster"] for event in refused()}, "refused frames of the OTA cluster"
    )
    shown = desk.chf("device", "show", name, "--json").json
    assert shown["device"]["refused_frames"] > 0
    assert shown["device"]["images"] == []
    assert desk.update(updates["without link key security"]).active
    assert {event.fields["reason"] for event in refused()} == {"without APS link-key security"}


def test_waiting_for_updates_that_did_not_all_activate_fails(fleet):
    desk, updates = fleet
    ran = desk.chf("update", "wait", str(updates["plain"]), str(updates["reverts"]), code=1)
    assert "1 of 2 updates did not end as activated" in ran.err
    assert desk.chf("update", "wait", str(updates["plain"])).code == 0


def test_every_update_told_the_outcome_of_its_transfer_once(fleet):
    desk, updates = fleet
    ended = [name for name in NAMES if not desk.update(updates[name]).active]
    assert len(ended) == len(NAMES) - 1
    assert [len(told(desk, name, "CCS08")) for name in ended] == [1] * len(ended)
