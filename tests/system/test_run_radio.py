"""The hub when its dongle is cut off, restarts, is replaced, or sits at the end of a bad air or a terminal."""

import pytest

from chf.eui64 import parse_eui64
from chf.store.device_log import DeviceStatus
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick, run_chf, steal_connection
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, virtual_dongle

pytestmark = pytest.mark.timeout(120)

both_kinds = pytest.mark.parametrize("kind", ["ezsp", "znp"])

OTHER = "00-DB-12-34-56-78-94-01"
WRONG_CODE = "00-DB-12-34-56-78-94-02"
NOT_IN_THE_LOG = "00-DB-12-34-56-78-94-03"


def image(desk, size_bytes=8000):
    return image_file(desk.directory / "new.ota", size_bytes=size_bytes)


def check_activated(desk, number, device=EUI64):
    update = desk.until_state(number, UpdateState.ACTIVATED, timeout_s=60.0)
    assert update.reason == ""
    desk.until(lambda: len(desk.alerts(device=device)) == 2, "both alerts")
    assert [(alert.use_case, alert.outcome) for alert in desk.alerts(device=device)] == [
        ("CCS08", "success"),
        ("CS09", "success"),
    ]


def radio_states(desk):
    return [event.fields["state"] for event in desk.events(Kind.RADIO_STATE)]


@both_kinds
def test_a_cable_that_is_cut_a_dongle_that_restarts_and_a_hub_that_is_killed_in_mid_download(tmp_path, kind):
    with bench(tmp_path, quick(think_time_s=0.02), "--ncp", kind) as desk:
        desk.start_hub("--radio", kind)
        desk.admit(EUI64)
        formed = desk.chf("radio", "info", "--json").json
        assert formed["kind"] == kind
        number = desk.start_update(image(desk, 12_000))
        desk.until_offset(1000)
        steal_connection(desk.dongle.port)
        desk.until(lambda: "gone" in radio_states(desk), "the hub to notice")
        desk.until(lambda: radio_states(desk)[-1] == "up", "the hub to be back")
        desk.until_offset(3000)
        desk.dongle.command(do="restart_dongle")
        desk.until(lambda: radio_states(desk).count("gone") == 2, "the hub to notice")
        desk.until_offset(5000)
        desk.kill_hub()
        desk.start_hub("--radio", kind)
        check_activated(desk, number)
        assert radio_states(desk)[-1] == "up"
        assert "radio is up" in desk.chf("watch", "--once").err
        again = desk.chf("radio", "info", "--json").json
        identity = ("pan_id", "channel", "coordinator")
        assert [again[name] for name in identity] == [formed[name] for name in identity]
        started = [event for event in desk.dongle.events() if event["event"] == "download_started"]
        assert len(started) == 1


def test_a_dongle_that_dies_is_told_and_one_without_its_network_is_not_taken_for_it(tmp_path):
    """The state of a virtual dongle dies with it, as if somebody plugged another stick into the same port."""
    with bench(tmp_path, quick()) as desk:
        desk.start_hub()
        desk.admit(EUI64)
        formed = desk.chf("radio", "info", "--json").json
        with virtual_dongle(spare(desk), quick(), listen=unplugged(desk)) as second:
            desk.dongle = second
            desk.until(
                lambda: "network" in str(desk.events(Kind.RADIO_STATE)[-1].fields["reason"]), "the hub to say so"
            )
            info = desk.chf("radio", "info", "--json").json
            assert info["state"] != "up"
            assert info["pan_id"] == formed["pan_id"]  # of the network that it is waiting for
            number = desk.start_update(image(desk))
            assert desk.update(number).active
            ran = desk.chf("device", "permit", EUI64, code=None)
            assert (ran.code, "is its dongle there?" in ran.err) == (4, True)
            assert desk.stop_hub() == 0


def unplugged(desk):
    """The port, free again."""
    desk.dongle.process.kill()
    desk.dongle.process.wait(10.0)
    return desk.dongle.port


def spare(desk):
    directory = desk.directory / "second"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("air", "listen"),
    [("loss = 0.05\nduplicate = 0.05\nreorder = 0.05\nreorder_hold_s = 0.02\n", "tcp://127.0.0.1:0"), ("", "pty")],
    ids=["lossy", "pty"],
)
@both_kinds
def test_a_bad_air_and_a_terminal(tmp_path, kind, air, listen):
    scenario = f"seed = 11\n[medium]\n{air}\n" + quick() + quick(OTHER, poll_interval_s=0.1)
    with bench(tmp_path, scenario, "--ncp", kind, listen=listen) as desk:
        desk.start_hub("--radio", kind)
        desk.admit(EUI64, OTHER)
        numbers = [desk.start_update(image(desk, 3000), device=eui64) for eui64 in (EUI64, OTHER)]
        for number, eui64 in zip(numbers, (EUI64, OTHER), strict=True):
            check_activated(desk, number, eui64)


def test_who_is_not_invited_gets_nothing(tmp_path):
    other_code = "0102030405060708090A0B0C0D0E0F10"
    scenario = quick() + quick(WRONG_CODE, install_code=other_code) + quick(NOT_IN_THE_LOG)
    with bench(tmp_path, scenario) as desk:
        desk.start_hub()
        desk.admit(WRONG_CODE, joined=False)
        desk.admit(EUI64)
        for eui64 in (WRONG_CODE, NOT_IN_THE_LOG):
            desk.dongle.command(do="reboot", eui64=eui64)
        refused = {WRONG_CODE, NOT_IN_THE_LOG}
        desk.until(
            lambda: refused <= {event["eui64"] for event in desk.dongle.events() if event["event"] == "join_failed"},
            "both to fail",
        )
        assert not desk.ready(WRONG_CODE)
        assert desk.store.devices.get(parse_eui64(WRONG_CODE)).status is not DeviceStatus.JOINED
        assert desk.store.devices.get(parse_eui64(NOT_IN_THE_LOG)) is None
        found = [event["eui64"] for event in desk.dongle.events() if event["event"] == "server_found"]
        assert set(found) == {EUI64}
        assert desk.ready(EUI64)


def test_a_device_that_joined_and_was_struck_from_the_log_gets_nothing(tmp_path):
    with bench(tmp_path, quick(query_interval_s=1.0)) as desk:
        desk.start_hub()
        desk.admit(EUI64)
        ran = desk.chf("device", "forget", EUI64)
        assert "is forgotten" in ran.err
        desk.until(lambda: any(event["event"] == "left" for event in desk.dongle.events()), "the device to leave")
        assert desk.chf("device", "list", "--json").json["devices"] == []
        assert (
            "not in the device log"
            in desk.chf("update", "start", "--device", EUI64, "--image", str(image(desk)), code=3).err
        )


def test_joining_by_the_commands_alone(tmp_path):
    """`device add` with the label's code on standard input, `permit`, and the device's button."""
    with bench(tmp_path, quick()) as desk:
        desk.start_hub()
        ran = desk.chf("device", "add", EUI64, "--install-code", "-", stdin=INSTALL_CODE + "\n")
        assert INSTALL_CODE not in ran.out + ran.err
        assert "may join for 60 s" in desk.chf("device", "permit", EUI64, "--seconds", "60").err
        desk.pair(EUI64)
        shown = desk.chf("device", "show", EUI64, "--json").json["device"]
        assert (shown["status"], shown["endpoint"], shown["images"][0]["manufacturer"]) == ("joined", 3, "0x10D4")
        assert EUI64 in desk.chf("device", "list").out


def test_a_wrong_digit_in_the_install_code_is_noticed(tmp_path):
    ran = run_chf("device", "add", EUI64, "--install-code", INSTALL_CODE[:-1] + "0", home=tmp_path / "home")
    assert ran.code == 2
    assert "CRC" in ran.err
    assert INSTALL_CODE[:8] not in ran.err


@pytest.mark.parametrize("port", ["tcp://127.0.0.1:9", "/dev/chf-no-such-port"])
def test_without_a_dongle_the_hub_ends_with_exit_code_5(tmp_path, port):
    for command in (("run",), ("radio", "form"), ("radio", "keys", "--out", str(tmp_path / "k"))):
        ran = run_chf(*command, "--port", port, home=tmp_path / "home")
        assert ran.code == 5
        assert port in ran.err
        assert "Traceback" not in ran.err
    assert run_chf("radio", "probe", port, home=tmp_path / "home").code == 5
