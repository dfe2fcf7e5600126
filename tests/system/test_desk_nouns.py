"""Everything that reads works while the hub runs and while it is down, and says the same."""

import json
from contextlib import contextmanager

import pytest

from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick
from tests.support.virtual_dongle import EUI64

pytestmark = pytest.mark.timeout(120)


@contextmanager
def updated(directory):
    """A bench whose one device has activated an update of 1060 bytes."""
    with bench(directory, quick()) as desk:
        desk.start_hub()
        desk.admit(EUI64)
        desk.image = image_file(directory / "new.ota", size_bytes=1000)
        desk.number = desk.start_update(desk.image)
        desk.until_state(desk.number, UpdateState.ACTIVATED)
        desk.until_alerts(2)
        yield desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Tests find it in any order: what one of them adds stays."""
    with updated(tmp_path_factory.mktemp("nouns")) as desk:
        yield desk


@pytest.fixture(params=["up", "down"])
def hub(desk, request):
    running = desk.hub.poll() is None
    if request.param == "up" and not running:
        desk.start_hub()
    if request.param == "down" and running:
        desk.stop_hub()
    return request.param


def test_watch_once(desk, hub):
    ran = desk.chf("watch", "--once")
    assert EUI64 in ran.out
    assert "activated" in ran.out
    assert ran.err.startswith(
        "hub runs; radio is up" if hub == "up" else "no hub runs: commands are queued; radio was "
    )


def test_what_a_hub_would_refuse_is_refused_while_there_is_none(desk, hub):
    unknown, other = "00-DB-12-34-56-78-90-FF", image_file(desk.directory / "other.ota", size_bytes=77)
    for command in (("device", "permit"), ("device", "forget"), ("update", "start", "--image", str(other), "--device")):
        ran = desk.chf(*command, unknown, code=3)
        assert f"{unknown} is not in the device log" in ran.err
        assert command[0] == "update" or f"`chf device add {unknown}`" in ran.err
        assert ran.out == ""
    assert [line["bytes"] for line in desk.chf("image", "list", "--json").json["images"]] == [1060]


def test_the_image_of_an_update_is_in_the_audit(desk):
    assert desk.events(Kind.IMAGE_ADDED)[0].fields["bytes"] == 1060


def test_updates(desk, hub):
    listed = desk.chf("update", "list", "--json").json["updates"]
    assert [(line["update"], line["state"], line["percent"]) for line in listed] == [(desk.number, "activated", 100.0)]
    assert desk.chf("update", "list", "--active", "--json").json["updates"] == []
    shown = desk.chf("update", "show", str(desk.number), "--json").json
    told = [event["fields"]["to"] for event in shown["history"] if event["kind"] == "update.state"]
    assert told == ["stored", "announced", "downloading", "downloaded", "activating", "activated"]
    text = desk.chf("update", "show", str(desk.number)).out
    assert "update.state" in text


def test_alerts(desk, hub, tmp_path):
    listed = desk.chf("alert", "list", "--json").json["alerts"]
    assert [line["use_case"] for line in listed] == ["CCS08", "CS09"]
    assert [line["seq"] for line in desk.chf("alert", "list", "--use-case", "CS09", "--json").json["alerts"]] == [2]
    for use_case, numbers in (("ccs08", [1]), ("CS14", []), ("FDRA", []), ("0x00CA", []), ("unknown", [])):
        found = desk.chf("alert", "list", "--use-case", use_case, "--json").json["alerts"]
        assert [line["seq"] for line in found] == numbers
    assert "is no use case" in desk.chf("alert", "list", "--use-case", "CS-09", code=2).err
    assert desk.chf("alert", "list", "--device", "00-DB-12-34-56-78-90-FF", "--json").json["alerts"] == []
    tailed = desk.chf("alert", "tail", "--no-follow", "--after", "1").out.splitlines()
    assert [json.loads(line)["use_case"] for line in tailed] == ["CS09"]
    desk.chf("alert", "export", str(tmp_path / "all.jsonl"))
    assert [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()] == listed
    desk.chf("alert", "export", str(tmp_path / "binary"), "--binary")
    files = sorted((tmp_path / "binary").iterdir())
    assert [path.read_bytes().hex() for path in files] == [line["message"] for line in listed]


def test_devices(desk, hub):
    shown = desk.chf("device", "show", EUI64, "--json").json
    assert shown["device"]["status"] == "joined"
    assert shown["device"]["images"][0]["file_version"] == "0x00000002"
    assert shown["updates"] == [{"update": desk.number, "state": "activated", "reason": ""}]
    assert EUI64 in desk.chf("device", "list").out


def test_images(desk, hub, tmp_path):
    version = 100 if hub == "up" else 200
    other = image_file(tmp_path / "other.ota", file_version=version, size_bytes=100)
    added = desk.chf("image", "add", str(other), "--json").json
    assert added["added"]
    sha256 = added["image"]["sha256"]
    assert sha256 in [image["sha256"] for image in desk.chf("image", "list", "--json").json["images"]]
    desk.chf("image", "remove", sha256[:12])
    assert sha256 not in [image["sha256"] for image in desk.chf("image", "list", "--json").json["images"]]
    assert desk.chf("image", "remove", sha256, code=2).out == ""


def test_radio_info(desk, hub):
    info = desk.chf("radio", "info", "--json").json
    assert (info["hub_running"], info["channel"]) == (hub == "up", 15)


def test_a_device_is_forgotten_once_the_hub_is_back(tmp_path):
    with updated(tmp_path) as desk:
        desk.stop_hub()
        assert desk.chf("device", "forget", EUI64, "--json").json["queued"]
        assert EUI64 in desk.chf("device", "list").out
        desk.start_hub()
        desk.until(lambda: not desk.store.devices.list(), "the hub to do it")
        desk.until(lambda: any(event["event"] == "left" for event in desk.dongle.events()), "the device to leave")
        assert desk.chf("update", "show", str(desk.number), "--json").json["state"] == "activated"  # history stays
