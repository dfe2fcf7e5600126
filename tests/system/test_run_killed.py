"""A hub that is killed at the worst moments, and started again: nothing is lost, nothing happens twice."""

import re
import signal

import pytest

from chf.clock import SystemClock
from chf.eui64 import format_eui64, parse_eui64
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick

pytestmark = pytest.mark.timeout(120)


def device(number: int) -> str:
    return f"00-DB-12-34-56-78-92-{number:02X}"


SLOW, PARKED, HELD, AT_END, AT_ALERT, MISSED, GRACEFUL, QUEUED, WRITTEN = map(device, range(9))
FLEET = {
    SLOW: {"think_time_s": 0.02},
    PARKED: {},
    HELD: {},
    AT_END: {"reboot_s": 2.0},
    AT_ALERT: {"alert_retry_s": 0.5},
    MISSED: {},
    GRACEFUL: {"think_time_s": 0.1},
    QUEUED: {},
    WRITTEN: {"reboot_s": 2.0},
}
# A killed hub's downloads go on a block timeout later, parked ones ask every second, and read-backs come soon.
CONFIG = (
    "[ota]\npark_wait_s = 1\nhold_wait_s = 1\ngrace_s = 3.0\ncommit_window_s = 0.5\n[updates]\nread_interval_s = 1.0\n"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killed")
    with bench(directory, "".join(quick(eui64, **how) for eui64, how in FLEET.items())) as desk:
        desk.start_hub(config=CONFIG)
        desk.admit(*FLEET)
        desk.image = image_file(directory / "new.ota", size_bytes=6000)
        yield desk


@pytest.fixture(autouse=True)
def hub_runs(desk):
    if desk.hub.poll() is not None:
        desk.start_hub(config=CONFIG)


def start(desk, eui64, *options):
    return desk.start_update(desk.image, *options, device=eui64)


def restart(desk):
    desk.kill_hub()
    desk.start_hub(config=CONFIG)


def check_whole_story(desk, eui64, number):
    update = desk.until_state(number, UpdateState.ACTIVATED)
    assert update.reason == ""
    desk.until(lambda: desk.alerts("CS09", eui64), f"the alert of {eui64}")
    told = [(alert.use_case, alert.outcome, alert.update) for alert in desk.alerts(device=eui64)]
    assert told == [("CCS08", "success", number), ("CS09", "success", number)]
    entry = desk.store.devices.get(parse_eui64(eui64))
    assert entry.images[0].file_version == 2


def offsets(desk, eui64):
    return [
        event["offset_bytes"]
        for event in desk.dongle.events()
        if event["event"] == "download_progress" and event["eui64"] == eui64
    ]


def test_in_mid_download(desk):
    number = start(desk, SLOW)
    desk.until_offset(2000, SLOW)
    restart(desk)
    check_whole_story(desk, SLOW, number)
    seen = offsets(desk, SLOW)
    assert seen == sorted(seen)  # it went on where it was, and never back
    started = [
        event for event in desk.dongle.events() if event["event"] == "download_started" and event["eui64"] == SLOW
    ]
    assert len(started) == 1


def test_while_a_download_is_parked_before_its_last_block(desk):
    number = start(desk, PARKED, "--at", "+20s")  # a hub may take long to start where others work
    desk.until_state(number, UpdateState.WAITING)
    assert desk.alerts(device=PARKED) == ()  # parked: the transfer has not ended
    restart(desk)
    assert desk.update(number).state is UpdateState.WAITING
    check_whole_story(desk, PARKED, number)


def test_while_a_finished_device_is_held(desk):
    number = start(desk, HELD, "--hold")
    desk.until_state(number, UpdateState.WAITING)
    restart(desk)
    assert desk.update(number).state is UpdateState.WAITING
    desk.chf("update", "activate", str(number))
    check_whole_story(desk, HELD, number)


def test_right_after_the_upgrade_end(desk):
    """The device reboots while no hub runs, and offers its alert to a hub that was not there."""
    number = start(desk, AT_END)
    desk.until(lambda: told_by(desk, AT_END, "activating"), "the device to be told")
    desk.kill_hub()
    desk.until(lambda: told_by(desk, AT_END, "booted") >= 3, "the device to run its new firmware")
    desk.start_hub(config=CONFIG)
    check_whole_story(desk, AT_END, number)


def test_right_after_the_activation_is_written(desk):
    """Whether the answer has left or not: the device asks again for what it did not hear."""
    number = start(desk, WRITTEN)
    desk.until_state(number, UpdateState.ACTIVATING, UpdateState.ACTIVATED)  # the first for as long as it reboots
    restart(desk)
    check_whole_story(desk, WRITTEN, number)


def told_by(desk, eui64, event):
    return sum(record["event"] == event and record.get("eui64") == eui64 for record in desk.dongle.events())


def test_right_after_the_alert_was_sent(desk):
    number = start(desk, AT_ALERT)
    desk.until(lambda: told_by(desk, AT_ALERT, "alert_sent"), "the alert to be sent")
    restart(desk)
    check_whole_story(desk, AT_ALERT, number)


def test_an_activation_that_was_missed_is_said_to_be_missed_and_can_be_ordered_anew(desk):
    number = start(desk, MISSED, "--at", "+6s", "--strategy", "hold")
    desk.until_state(number, UpdateState.WAITING)
    until_utc = desk.update(number).waiting_until
    desk.kill_hub()
    desk.until(lambda: SystemClock().now().utc > until_utc + 4.0, "the time and its grace to pass")
    desk.start_hub(config=CONFIG)
    said = "the activation time passed while the hub was down"
    desk.until(lambda: said in desk.chf("update", "show", str(number)).out, "the hub to say so")
    assert desk.update(number).state is UpdateState.WAITING
    desk.chf("update", "activate", str(number))
    check_whole_story(desk, MISSED, number)


def test_sigterm_is_graceful(desk):
    number = start(desk, GRACEFUL)
    desk.until_offset(1000, GRACEFUL)
    assert desk.stop_hub(signal.SIGTERM) == 0
    log = desk.log.read_text()
    assert re.search(r"hub\.stopped reason=SIGTERM", log.splitlines()[-2])
    assert log.splitlines()[-1] == "stopped"
    assert desk.update(number).state is UpdateState.DOWNLOADING
    desk.start_hub(config=CONFIG)
    check_whole_story(desk, GRACEFUL, number)


def test_sigint_ends_it_as_well(desk):
    assert desk.stop_hub(signal.SIGINT) == 0


def test_commands_to_a_hub_that_is_down_are_queued_and_done_when_it_comes(desk):
    desk.kill_hub()
    ran = desk.chf("update", "start", "--device", QUEUED, "--image", str(desk.image), "--json")
    assert ran.json == {"schema": 1, "queued": True, "started": [], "refused": []}
    assert "queued" in ran.err
    assert all(update.device != parse_eui64(QUEUED) for update in desk.store.updates.list())
    desk.start_hub(config=CONFIG)
    desk.until(lambda: jobs_of(desk, QUEUED), "the hub to take it")
    (update,) = jobs_of(desk, QUEUED)
    check_whole_story(desk, QUEUED, update.id)


def jobs_of(desk, eui64):
    return [update for update in desk.store.updates.list() if update.device == parse_eui64(eui64)]


def test_no_other_hub_may_run_on_the_same_home(desk):
    ran = desk.chf("run", "--port", desk.dongle.port, code=1)
    assert f"process {desk.hub.pid}" in ran.err
    assert "Traceback" not in ran.err


def test_every_story_is_told_once(desk):
    """After all those deaths: one alert of each kind for each device, and an unbroken audit."""
    for eui64 in {
        format_eui64(update.device) for update in desk.store.updates.list()
    }:  # of this process: tests may be spread
        kinds = [alert.use_case for alert in desk.alerts(device=eui64)]
        assert kinds == ["CCS08", "CS09"], eui64
    assert "Traceback" not in desk.log.read_text()
