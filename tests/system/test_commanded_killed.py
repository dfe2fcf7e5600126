"""A hub that is killed between the supplier's command and the device's response: nothing is lost, nothing is doubled."""

from collections import Counter
from collections.abc import Callable

import pytest

from chf.store.device_log import DeviceType
from chf.store.device_messages import MessageState
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import Bench, bench, commanded, signed_image_file

pytestmark = pytest.mark.timeout(240)

HCALCS, GSME = (f"00-DB-12-34-56-78-90-A{digit}" for digit in "51")
FLEET = {HCALCS: DeviceType.HCALCS, GSME: DeviceType.GSME}  # the hub's tunnel as client and as server
QUICK: dict[str, dict[str, object]] = {
    GSME: {"poll_interval_s": 0.5, "fast_poll_interval_s": 0.005, "mirror_interval_s": 1.0}
}


def told(desk: Bench, event: str, device: str) -> int:
    return sum(record["event"] == event and record.get("eui64") == device for record in desk.dongle.events())


Point = Callable[[Bench, str], bool]
POINTS: dict[str, Point] = {
    "when the hub took it": lambda _desk, _device: True,
    "when the device obeyed": lambda desk, device: told(desk, "activating", device) > 0,
    "when the device made its response": lambda desk, device: told(desk, "message_made", device) > 0,
    "when the device sent its response": lambda desk, device: told(desk, "alert_sent", device) > 0,
}


@pytest.mark.parametrize("device", FLEET, ids=[kind.value for kind in FLEET.values()])
def test_a_hub_killed_on_the_way_of_a_command_loses_and_doubles_nothing(tmp_path, device):
    """One update after another of one device, and at each another point of the hub's death."""
    kind = FLEET[device].value.lower()
    with bench(tmp_path, commanded(kind, device, **QUICK.get(device, {})), issue=[device]) as desk:
        desk.start_hub()
        desk.admit(device, device_type=FLEET[device])
        points = POINTS if device == HCALCS else dict(list(POINTS.items())[::3])  # a GSME takes its time
        for version, (point, reached) in enumerate(points.items(), start=2):
            image = signed_image_file(tmp_path / f"{version}.ota", desk.pki, file_version=version, size_bytes=600)
            number = desk.start_update(image, device=device)
            desk.until_state(number, UpdateState.WAITING)
            desk.until(lambda number=number: "FDRA" in use_cases(desk, number), "the receipt")
            desk.dongle.seen.clear()
            before = len(desk.events(Kind.MESSAGE_QUEUED))
            message = desk.chf("dcc", "cs06", "--device", device, "--image", str(image), "--json").json["message"]
            desk.until(lambda before=before: len(desk.events(Kind.MESSAGE_QUEUED)) > before, point)
            desk.until(lambda reached=reached: reached(desk, device), point)
            desk.kill_hub()
            desk.start_hub()
            desk.until_state(number, UpdateState.ACTIVATED)
            desk.until(
                lambda message=message: desk.store.device_messages.get(message).state is MessageState.ANSWERED,
                f"the answer after a death {point}",
            )
            assert told(desk, "activating", device) == 1, point
            assert use_cases(desk, number) == Counter(["CCS08", "FDRA", "CS06"]), point
        assert len({alert.msg_id for alert in desk.alerts()}) == len(desk.alerts())
        assert "Traceback" not in desk.log.read_text()


def use_cases(desk: Bench, number: int) -> Counter[str]:
    return Counter(alert.use_case for alert in desk.alerts() if alert.update == number)
