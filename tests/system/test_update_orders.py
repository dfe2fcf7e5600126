"""When an update happens, and calling it off: `--at`, `--hold`, `activate`, `cancel`, and the exit code of each."""

import pytest

from chf.clock import SystemClock, UtcSeconds, isoformat
from chf.eui64 import parse_eui64
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick

pytestmark = pytest.mark.timeout(120)


def device(number: int) -> str:
    return f"00-DB-12-34-56-78-93-{number:02X}"


SLOW, PARKED, HELD, GIVEN, AT_PARK, AT_HOLD, AT_UTC, BY_HAND, TWICE, MOVED, LOST, ELSEWHERE, OTHER_TYPE = map(
    device, range(13)
)
NOBODY = device(0xEE)  # in the device log, never on the network
FLEET = {
    SLOW: {"think_time_s": 0.2},
    GIVEN: {"reboot_s": 4.0},
    LOST: {"faults": {"stalls_at_offset": 1000}},
    ELSEWHERE: {"manufacturer": 0x1111},
    OTHER_TYPE: {"image_type": 0x0077},
}
CONFIG = "[ota]\npark_wait_s = 1\nhold_wait_s = 1\ncommit_window_s = 3.0\n[updates]\nread_interval_s = 1.0\n"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("orders")
    everybody = [device(number) for number in range(13)]
    scenario = "".join(quick(eui64, **FLEET.get(eui64, {})) for eui64 in everybody)
    with bench(directory, scenario) as desk:
        desk.start_hub(config=CONFIG)
        desk.admit(*everybody)
        desk.admit(NOBODY, joined=False)
        desk.image = image_file(directory / "new.ota", size_bytes=4000)
        yield desk


def start(desk, eui64, *options):
    return desk.start_update(desk.image, *options, device=eui64)


def waiting(desk, eui64, *options):
    number = start(desk, eui64, *options)
    desk.until_state(number, UpdateState.WAITING)
    return number


def told(desk, eui64):
    return [(alert.use_case, alert.alert_code, alert.outcome) for alert in desk.alerts(device=eui64)]


def version(desk, eui64):
    return desk.dongle.command(do="state", eui64=eui64)["file_version"]


def activated_at(desk, eui64):
    """The device's time of activation, and that of its last piece of the image."""
    last, activating = 0.0, None
    for event in desk.dongle.events():
        if event.get("eui64") == eui64:
            last = event["time_s"] if event["event"] == "download_progress" else last
            activating = event["time_s"] if event["event"] == "activating" else activating
    return last, activating


def check_cancelled(desk, eui64, number):
    update = desk.update(number)
    assert update.state is UpdateState.CANCELLED
    alerts = [alert for alert in desk.alerts(device=eui64) if alert.update == number]
    assert [(alert.use_case, alert.alert_code, alert.outcome) for alert in alerts] == [
        ("CCS08", 0x8F89, "image discarded")
    ]
    assert desk.chf("update", "wait", str(number), code=1).err.endswith("did not end as activated\n")


def test_cancel_while_downloading(desk):
    number = start(desk, SLOW)
    desk.until_offset(500, SLOW)
    ran = desk.chf("update", "cancel", str(number))
    assert ran.err == f"update {number} is cancelled\n"
    check_cancelled(desk, SLOW, number)
    desk.until(
        lambda: any(
            e["event"] in ("download_failed", "cancelled") and e["eui64"] == SLOW for e in desk.dongle.events()
        ),
        "the device to be told",
    )
    assert version(desk, SLOW) == 1


def test_cancel_while_parked(desk):
    number = waiting(desk, PARKED, "--at", "+1h")
    desk.chf("update", "cancel", str(number))
    check_cancelled(desk, PARKED, number)
    assert version(desk, PARKED) == 1


def test_cancel_while_held(desk):
    number = waiting(desk, HELD, "--hold")
    desk.chf("update", "cancel", str(number))
    update = desk.update(number)
    assert update.state is UpdateState.CANCELLED
    assert version(desk, HELD) == 1
    assert len(told(desk, HELD)) == 1


def test_cancel_of_an_update_whose_device_was_given_a_time_is_refused(desk):
    """It counts down by itself and cannot be called back: exit code 3, with the truth, and it activates."""
    number = start(desk, GIVEN, "--at", "+6s", "--strategy", "hold")
    desk.until_state(number, UpdateState.ACTIVATING)
    ran = desk.chf("update", "cancel", str(number), code=3)
    assert "the device was told to activate at" in ran.err
    desk.until_state(number, UpdateState.ACTIVATED)
    ran = desk.chf("update", "cancel", str(number), code=3)
    assert f"update {number} is activated already" in ran.err


@pytest.mark.parametrize(
    ("eui64", "strategy"), [(AT_PARK, ()), (AT_HOLD, ("--strategy", "hold"))], ids=["park", "hold"]
)
def test_a_time_is_kept(desk, eui64, strategy):
    number = start(desk, eui64, "--at", "+10s", *strategy)
    due = desk.update(number).activation.utc
    update = desk.until_state(number, UpdateState.WAITING)
    assert update.waiting_until == pytest.approx(due)
    assert version(desk, eui64) == 1
    update = desk.until_state(number, UpdateState.ACTIVATED)
    assert update.reason == ""
    assert update.activation_at == pytest.approx(due, abs=2.0)
    last, activating = activated_at(desk, eui64)
    assert activating > last
    if strategy:
        assert activating - last > 3.0  # it had the whole image long before


def test_a_time_in_utc(desk):
    """Told as UTC on the command line, and to the device."""
    when = isoformat(UtcSeconds(SystemClock().now().utc + 15))
    number = start(desk, AT_UTC, "--at", when, "--time-form", "absolute")
    update = desk.until_state(number, UpdateState.ACTIVATED)
    assert isoformat(update.activation.utc) == when
    assert update.ended >= update.activation.utc


def test_hold_until_a_person_says_so(desk):
    number = waiting(desk, BY_HAND, "--hold")
    ran = desk.chf("update", "wait", str(number), "--timeout", "0.3", code=4)
    assert f"update {number} is waiting" in ran.err
    desk.chf("update", "activate", str(number))
    assert desk.until_state(number, UpdateState.ACTIVATED).reason == ""


def test_an_appointment_can_be_moved_to_now(desk):
    number = waiting(desk, MOVED, "--at", "+2h")
    desk.chf("update", "activate", str(number))
    assert desk.until_state(number, UpdateState.ACTIVATED).reason == ""
    desk.until(lambda: len(told(desk, MOVED)) == 2, "both alerts")


def test_a_device_has_one_update_at_a_time(desk):
    number = waiting(desk, TWICE, "--hold")
    ran = desk.chf("update", "start", "--device", TWICE, "--image", str(desk.image), code=3)
    assert f"{TWICE}: it has update {number} in progress" in ran.err
    ran = desk.chf("device", "forget", TWICE, code=3)
    assert f"update {number} in progress: cancel that first" in ran.err
    desk.chf("update", "cancel", str(number))


def test_a_download_that_stops_waits_and_expires_when_told_to(desk):
    number = start(desk, LOST, "--expires", "3")
    update = desk.until_state(number, UpdateState.EXPIRED)
    assert update.reason == "the time allowed for the update is over"
    assert told(desk, LOST) == [("CCS08", 0x8F89, "image discarded")]


def test_an_image_for_another_makers_device_is_refused(desk):
    ran = desk.chf("update", "start", "--device", ELSEWHERE, "--image", str(desk.image), code=3)
    assert f"{ELSEWHERE}: its manufacturer is 0x1111, the image's 0x10D4" in ran.err


def test_a_device_that_asks_for_another_type_of_image_is_told_of(desk):
    number = start(desk, OTHER_TYPE)
    said = "asks for images of manufacturer 0x10D4, type 0x0077; this one is for 0x10D4, type 0x0001"
    desk.until(lambda: said in desk.chf("update", "show", str(number)).out, "the hub to say so")
    assert desk.update(number).state is UpdateState.ANNOUNCED  # it may have several images, and ask for this one too
    desk.chf("update", "cancel", str(number))


def test_a_device_that_is_not_there_stays_announced(desk):
    number = start(desk, NOBODY)
    assert desk.until_state(number, UpdateState.ANNOUNCED, UpdateState.STORED).active
    desk.chf("update", "wait", str(number), "--timeout", "0.2", code=4)
    desk.chf("update", "cancel", str(number))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("update", "show", "999"), 2, "there is no update 999"),
        (("update", "cancel", "999"), 2, "there is no update 999"),
        (("update", "wait"), 2, "Missing argument"),
        (("update", "start", "--device", "rubbish", "--image", "x"), 2, "rubbish"),
        (("update", "start", "--device", SLOW, "--image", "nosuch"), 2, "nosuch"),
        (("update", "start", "--device", SLOW, "--image", "nosuch", "--at", "+1h", "--hold"), 2, "exclude"),
        (("update", "start", "--device", SLOW, "--image", "x", "--at", "tomorrow"), 2, "is not a time"),
        (("update", "start", "--device", SLOW, "--image", "x", "--at", "2026-11-23T18:00:00"), 2, "no time zone"),
        (("update", "start", "--device", SLOW, "--image", "x", "--at", "2020-01-01T00:00:00Z"), 2, "has passed"),
        (("update", "start", "--device", SLOW, "--image", "x", "--at", "+-5s"), 2, "is not a time"),
        (
            ("update", "start", "--device", SLOW, "--image", "x", "--at", "9999-12-31T00:00:00Z"),
            2,
            "2136-02-07T06:28:14Z",
        ),
        (("update", "start", "--device", SLOW, "--image", "x", "--at", "+90000d"), 2, "2136-02-07T06:28:14Z"),
        (("update", "start", "--device", SLOW, "--image", "x", "--expires", "nan"), 2, "--expires"),
        (("update", "start", "--device", SLOW, "--image", "x", "--expires", "inf"), 2, "--expires"),
        (("device", "add", "00" * 8, "--install-code", "00"), 2, "nobody, or everybody"),
        (("device", "add", "FF" * 8, "--install-code", "00"), 2, "nobody, or everybody"),
        (("device", "show", device(0xDD)), 2, "not in the device log"),
        (("device", "permit", device(0xDD)), 3, "not in the device log"),
        (("device", "forget", device(0xDD)), 3, "not in the device log"),
        (("device", "set-class", device(0xDD), "ti"), 3, "not in the device log"),
        (("device", "set-class", SLOW, "zx81"), 2, "silicon-labs"),
        (("run", "--port", "tcp://127.0.0.1:1", "--config", "nosuch.toml"), 2, "nosuch.toml"),
    ],
)
def test_a_command_that_makes_no_sense(desk, arguments, code, said):
    ran = desk.chf(*arguments, code=code)
    assert said in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_a_part_that_is_refused_is_not_taken_for_all(desk):
    command = ("update", "start", "--device", SLOW, "--device", device(0xDD), "--image", str(desk.image), "--json")
    ran = desk.chf(*command, "--at", "+9h", code=3)
    assert [line["device"] for line in ran.json["started"]] == [SLOW]
    assert [line["device"] for line in ran.json["refused"]] == [device(0xDD)]
    assert ran.err.splitlines()[-1] == "chf: 1 of 2 devices were refused"
    desk.chf("update", "cancel", str(ran.json["started"][0]["update"]))


def test_a_warning_goes_once_somebody_says_what_client_it_is(desk):
    command = ("update", "start", "--device", SLOW, "--image", str(desk.image), "--at", "+9h", "--json")
    for name, warned in (("auto", True), ("silicon-labs", False)):
        desk.chf("device", "set-class", SLOW, name)
        ran = desk.chf(*command)
        (started,) = ran.json["started"]
        assert (started["warning"] is not None, "warning: update" in ran.err) == (warned, warned)
        desk.chf("update", "cancel", str(started["update"]))
    described = desk.chf("device", "show", SLOW, "--json").json["device"]
    assert (described["client_class"], described["client_confidence"]) == ("silicon-labs", "certain")


def test_the_hub_ran_without_a_fault(desk):
    assert desk.hub.poll() is None
    assert "Traceback" not in desk.log.read_text()
    assert parse_eui64(SLOW) in {entry.eui64 for entry in desk.store.devices.list()}
