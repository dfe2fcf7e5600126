"""The second update method between programs: distribution by the hub, activation by the supplier's command."""

import pytest

from chf.clock import SystemClock
from chf.eui64 import parse_eui64
from chf.gbcs import AlertCode
from chf.image.image import parse_image
from chf.store.device_log import DeviceType
from chf.store.device_messages import MessageState
from chf.trace import Kind
from chf.update.model import UpdateState, WaitReason
from tests.support.programs import Bench, bench, commanded, quick, signed_image_file

pytestmark = pytest.mark.timeout(120)

HCALCS = "00-DB-12-34-56-78-90-A5"


def told(desk: Bench, device: str) -> list[tuple[str, int, str, bool]]:
    return [(alert.use_case, alert.alert_code, alert.outcome, alert.verified) for alert in desk.alerts(device=device)]


QUICK: dict[str, dict[str, object]] = {
    "hcalcs": {},
    "esme": {},
    "gsme": {"poll_interval_s": 0.5, "fast_poll_interval_s": 0.005, "mirror_interval_s": 1.0},
}
TRANSFERRED = ("CCS08", AlertCode.FIRMWARE_TRANSFER_SUCCESS, "success", True)
RECEIVED = ("FDRA", AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, "verified", True)


@pytest.mark.parametrize("kind", ["hcalcs", "esme", "gsme"])
def test_an_update_from_distribution_to_read_back(tmp_path, kind):
    with bench(tmp_path, commanded(kind, HCALCS, **QUICK[kind]), issue=[HCALCS]) as desk:
        desk.start_hub()
        desk.admit(HCALCS, device_type=DeviceType(kind.upper()))
        image = signed_image_file(tmp_path / "new.ota", desk.pki)
        number = desk.start_update(image, device=HCALCS)
        desk.until_state(number, UpdateState.WAITING)
        desk.until_alerts(2)
        assert sorted(told(desk, HCALCS)) == sorted([TRANSFERRED, RECEIVED])
        sent = desk.chf("dcc", "cs06", "--device", HCALCS, "--image", str(image), "--json").json
        assert sent["hash"] == parse_image(image.read_bytes()).manufacturer_image_hash
        desk.until_state(number, UpdateState.ACTIVATED)
        # The version may be read before the response has come through the new tunnel.
        desk.until(lambda: ("CS06", 0, "success", True) in told(desk, HCALCS), "the response")
        row = desk.store.device_messages.get(sent["message"])
        assert row is not None
        assert row.message.hex() == sent["octets"]
        assert row.state is MessageState.ANSWERED
        use_case = {"hcalcs": "CS08", "esme": "ECS52", "gsme": "GCS38"}[kind]
        asked = desk.chf("dcc", use_case.lower(), "--device", HCALCS, "--json").json["message"]
        desk.until(lambda: (use_case, 0, "0x00000002", True) in told(desk, HCALCS), "the version")
        desk.until(lambda: desk.store.device_messages.get(asked).state is MessageState.ANSWERED, "the answer")
        entry = desk.store.devices.get(parse_eui64(HCALCS))
        assert entry is not None
        assert entry.images[0].file_version == 2


def cs06(desk: Bench, image, *options: str) -> int:
    """The number of the message."""
    ran = desk.chf("dcc", "cs06", "--device", HCALCS, "--image", str(image), "--json", *options)
    return int(ran.json["message"])


def distributed(desk: Bench, image) -> int:
    """The number of the update, whose device holds the image and has told so."""
    desk.start_hub()
    desk.admit(HCALCS, device_type=DeviceType.HCALCS)
    number = desk.start_update(image, device=HCALCS)
    desk.until_state(number, UpdateState.WAITING)
    desk.until_alerts(2)
    return number


def test_a_device_without_power_at_the_time_activates_when_it_is_back(tmp_path):
    with bench(tmp_path, commanded("hcalcs", HCALCS), issue=[HCALCS]) as desk:
        image = signed_image_file(tmp_path / "new.ota", desk.pki)
        number = distributed(desk, image)
        cs06(desk, image, "--at", "+12s")
        desk.until(lambda: ("CS06", 0, "accepted", True) in told(desk, HCALCS), "the acceptance")
        when = desk.update(number).waiting_until
        assert when is not None
        assert desk.update(number).waiting_for is WaitReason.TIME
        desk.dongle.command(do="power_off", eui64=HCALCS)
        desk.until(lambda: SystemClock().now().utc > when + 1, "the time to pass")
        assert desk.update(number).state is UpdateState.WAITING
        desk.dongle.command(do="power_on", eui64=HCALCS)
        desk.until_state(number, UpdateState.ACTIVATED)
        desk.until(lambda: ("0x00CA", 0x8F66, "success", True) in told(desk, HCALCS), "the alert")


def test_a_cancelled_activation_does_not_happen(tmp_path):
    with bench(tmp_path, commanded("hcalcs", HCALCS), issue=[HCALCS]) as desk:
        image = signed_image_file(tmp_path / "new.ota", desk.pki)
        number = distributed(desk, image)
        cs06(desk, image, "--at", "+8h")
        desk.until(lambda: desk.update(number).waiting_until is not None, "the appointment")
        message = cs06(desk, image, "--cancel")
        desk.until(lambda: desk.store.device_messages.get(message).state is MessageState.ANSWERED, "the answer")
        desk.until(lambda: desk.update(number).waiting_until is None, "the appointment to be gone")
        scheduled = [event["utc_s"] for event in desk.dongle.events() if event["event"] == "activation_scheduled"]
        assert [utc_s is None for utc_s in scheduled] == [False, True]
        assert desk.update(number).state is UpdateState.WAITING


def test_a_command_for_an_absent_device_outlives_a_killed_hub(tmp_path):
    with bench(tmp_path, commanded("hcalcs", HCALCS), issue=[HCALCS]) as desk:
        image = signed_image_file(tmp_path / "new.ota", desk.pki)
        number = distributed(desk, image)
        desk.dongle.command(do="power_off", eui64=HCALCS)
        message = cs06(desk, image)
        desk.until(lambda: desk.events(Kind.MESSAGE_QUEUED), "the hub to have the command")
        desk.kill_hub()
        assert desk.store.device_messages.get(message).state is MessageState.WAITING
        desk.start_hub()
        desk.dongle.command(do="power_on", eui64=HCALCS)
        desk.until_state(number, UpdateState.ACTIVATED)
        desk.until(lambda: desk.store.device_messages.get(message).state is MessageState.ANSWERED, "the answer")


def test_only_an_image_with_force_replace_ends_a_distribution(tmp_path):
    with bench(tmp_path, commanded("hcalcs", HCALCS, faults={"stalls_at_offset": 1000}), issue=[HCALCS]) as desk:
        desk.start_hub()
        desk.admit(HCALCS, device_type=DeviceType.HCALCS)
        first = desk.start_update(signed_image_file(tmp_path / "first.ota", desk.pki), device=HCALCS)
        desk.until_state(first, UpdateState.DOWNLOADING)
        nobodys = desk.chf("update", "activate", str(first), code=3)
        assert "supplier's command" in nobodys.err
        polite = signed_image_file(tmp_path / "polite.ota", desk.pki, file_version=3)
        refused = desk.chf("update", "start", "--device", HCALCS, "--image", str(polite), "--json", code=3)
        assert "in progress" in refused.json["refused"][0]["reason"]
        forced = signed_image_file(tmp_path / "forced.ota", desk.pki, file_version=4, force_replace=True)
        second = desk.start_update(forced, device=HCALCS)
        assert desk.update(first).state is UpdateState.FAILED
        assert "ForceReplace" in desk.update(first).reason
        desk.until(lambda: desk.alerts(use_case="CCS08"), "the report")
        assert ("CCS08", AlertCode.FIRMWARE_TRANSFER_FAILURE, "image discarded", True) in told(desk, HCALCS)
        assert desk.update(second).active


def test_an_image_that_waits_for_its_supplier_is_replaced_by_a_newer_one(tmp_path):
    """No ForceReplace is needed: the distribution is over, whatever date the device has accepted."""
    with bench(tmp_path, commanded("hcalcs", HCALCS, query_interval_s=1.0), issue=[HCALCS]) as desk:
        image = signed_image_file(tmp_path / "first.ota", desk.pki)
        first = distributed(desk, image)
        cs06(desk, image, "--at", "+8h")
        desk.until(lambda: desk.update(first).waiting_until is not None, "the appointment")
        again = desk.chf("update", "start", "--device", HCALCS, "--image", str(image), "--json", code=3)
        assert "in progress" in again.json["refused"][0]["reason"]
        newer = signed_image_file(tmp_path / "newer.ota", desk.pki, file_version=3)
        second = desk.start_update(newer, device=HCALCS)
        assert desk.update(first).state is UpdateState.FAILED
        assert "before its supplier activated it" in desk.update(first).reason
        desk.until_state(second, UpdateState.WAITING)
        cs06(desk, newer)
        desk.until_state(second, UpdateState.ACTIVATED)
        assert desk.store.devices.get(parse_eui64(HCALCS)).images[0].file_version == 3


def test_a_device_that_waits_for_its_supplier_can_be_taken_out_of_the_log(tmp_path):
    """Its update cannot be cancelled, and would hold the device for as long as it may wait."""
    with bench(tmp_path, commanded("hcalcs", HCALCS), issue=[HCALCS]) as desk:
        number = distributed(desk, signed_image_file(tmp_path / "new.ota", desk.pki))
        desk.chf("update", "cancel", str(number), code=3)
        desk.chf("device", "forget", HCALCS)
        desk.until_state(number, UpdateState.FAILED)
        assert desk.update(number).reason == "the device was taken out of the device log"
        assert desk.store.devices.get(parse_eui64(HCALCS)) is None
        assert "Traceback" not in desk.log.read_text()


def test_a_ppmid_answers_cs08(tmp_path):
    keys = {"key_agreement_key": f"home/pki/{parse_eui64(HCALCS):016x}-ka.key"}
    acb = {"acb_certificate": "home/pki/90b3d51f30000002-ka.pem"}
    with bench(tmp_path, quick(HCALCS, **keys, **acb), issue=[HCALCS]) as desk:
        desk.start_hub()
        desk.admit(HCALCS)
        desk.chf("dcc", "cs08", "--device", HCALCS)
        desk.until(lambda: ("CS08", 0, "0x00000001", True) in told(desk, HCALCS), "the version")
        refused = desk.chf("dcc", "cs06", "--device", HCALCS, "--image", "nothing", code=2)
        assert "nothing" in refused.err
