"""`chf demo`: what it prints, for which images, and what it says of those that it cannot use."""

import hashlib
import os
import re
import signal
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chf.cli.demo_methods import PERSONALITIES
from tests.support.programs import chf_command, image_file, run_chf, until
from tests.support.virtual_dongle import ROOT

pytestmark = pytest.mark.timeout(300)

KEYS = {
    "schema": (),
    "result": (),
    "image": ("sha256", "bytes", "file_version"),
    "device": ("eui64", "version_before", "version_after"),
    "transfer": ("blocks", "bytes", "seconds"),
    "alerts": (),
    "pcap": (),
    "keys": (),
}


def demo(tmp_path, *options, code=0):
    ran = run_chf("demo", "--json", *map(str, options), home=tmp_path / "unused", timeout_s=250.0)
    assert code is None or ran.code == code, ran.err
    return ran


def check(outcome, image):
    content = image.read_bytes()
    (version,) = struct.unpack_from("<I", content, 14)  # ZCL8 11.4.2: the file version of the OTA header
    assert outcome["result"] == "activated"
    assert outcome["image"] == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "file_version": f"0x{version:08X}",
    }
    assert outcome["device"]["version_after"] == f"0x{version:08X}"
    assert outcome["device"]["version_before"] != outcome["device"]["version_after"]
    assert outcome["transfer"]["bytes"] == len(content)
    told = [(alert["use_case"], alert["alert_code"], alert["outcome"]) for alert in outcome["alerts"]]
    assert told == [("CCS08", "0x8F8A", "success"), ("CS09", "0x8F8B", "success")]
    assert all(alert["message"].startswith("df09") for alert in outcome["alerts"])


def test_the_json_is_one_object_with_the_promised_keys(tmp_path):
    image = image_file(tmp_path / "new.ota", size_bytes=3000)
    ran = demo(tmp_path, "--image", image)
    assert ran.out.count("\n") == 1
    outcome = ran.json
    assert KEYS.keys() <= outcome.keys()
    for key, inner in KEYS.items():
        assert set(inner) <= (set(outcome[key]) if inner else set())
    assert outcome["schema"] == 1
    assert (outcome["pcap"], outcome["keys"]) == (None, None)
    assert re.fullmatch(r"([0-9A-F]{2}-){7}[0-9A-F]{2}", outcome["device"]["eui64"])
    assert outcome["transfer"]["blocks"] >= 3060 / 56
    assert outcome["transfer"]["seconds"] > 0
    check(outcome, image)


IMAGES = {
    "1 octet": {"size_bytes": 1},
    "55 octets": {"size_bytes": 55},
    "56 octets": {"size_bytes": 56},
    "57 octets": {"size_bytes": 57},
    "the first version": {"file_version": 0, "size_bytes": 200},
    "the last version": {"file_version": 0xFFFFFFFE, "size_bytes": 200},
    "a standard OTA file": {"kind": "standard", "manufacturer": 0x1234, "image_type": 0xAB, "hardware": None},
    "sub-elements": {"kind": "standard", "more": '[[sub_element]]\ntag = 0xF123\npattern = "a part of their own"\n'},
    "300 KiB": {"size_bytes": 300 * 1024},
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Every image's demo; they wait more than they work, so some run side by side."""
    directory = tmp_path_factory.mktemp("images")
    images = {name: image_file(directory / f"{name}.bin", **how) for name, how in IMAGES.items()}
    with ThreadPoolExecutor(4) as pool:
        runs = {name: pool.submit(demo, directory, "--image", image) for name, image in images.items()}
        return {name: (images[name], run.result().json) for name, run in runs.items()}


@pytest.mark.parametrize("name", IMAGES)
def test_any_valid_image_may_be_given(outcomes, name):
    image, outcome = outcomes[name]
    check(outcome, image)


def test_without_json_the_result_is_on_stdout_and_the_talk_on_stderr(tmp_path):
    image = image_file(tmp_path / "new.ota", size_bytes=500, file_version=7)
    ran = run_chf("demo", "--image", str(image), home=tmp_path / "unused")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [["CCS08", "0x8F8A", "success"], ["CS09", "0x8F8B", "success"]]
    assert lines[2].split()[1:] == ["activated", "0x00000006", "->", "0x00000007"]
    assert "signature verified" in ran.out
    for word in ("network formed", "is on the network", "SR 11.4", "transfer ended"):
        assert word in ran.err


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda octets: b"junk" + octets[4:], "file identifier, offset 0"),
        (lambda octets: octets[:-1], "total image size"),
        (lambda octets: octets + b"x", "total image size"),
        (lambda octets: b"", "0 of the header's 56 bytes"),
    ],
    ids=["magic", "short", "trailing", "empty"],
)
def test_a_malformed_image_is_refused_with_field_and_reason(tmp_path, damage, reason):
    image = image_file(tmp_path / "bad.ota", size_bytes=500)
    image.write_bytes(damage(image.read_bytes()))
    ran = demo(tmp_path, "--image", image, code=1)
    assert ran.out == ""
    assert ran.err.startswith("chf: ")
    assert reason in ran.err.lower()
    assert "Traceback" not in ran.err


def test_an_image_whose_version_means_unknown_is_refused(tmp_path):
    image = image_file(tmp_path / "unknown.ota", size_bytes=200, file_version=0xFFFFFFFF)
    ran = demo(tmp_path, "--image", image, code=None)
    assert ran.code != 0
    assert "nobody could see that it runs" in ran.err


def test_an_image_that_is_not_there_is_a_mistake_of_the_caller(tmp_path):
    ran = demo(tmp_path, "--image", tmp_path / "missing.ota", code=2)
    assert "missing.ota" in ran.err


def test_the_demo_keeps_its_hands_off_a_home_that_is_in_use(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").write_text("mine")
    ran = demo(tmp_path, "--home", tmp_path / "home", code=2)
    assert "not empty" in ran.err
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["mine"]


COMMANDED = {
    "hcalcs": [("CCS08", "0x8F8A"), ("FDRA", "0x8F72"), ("CS06", "0x0000"), ("CS08", "0x0000")],
    "esme": [("CCS08", "0x8F8A"), ("FDRA", "0x8F72"), ("CS06", "0x0000"), ("ECS52", "0x0000")],
    "gsme": [("CCS08", "0x8F8A"), ("FDRA", "0x8F72"), ("CS06", "0x0000"), ("GCS38", "0x0000")],
}


@pytest.mark.parametrize("method", COMMANDED)
def test_the_second_method_shows_receipt_command_response_and_read_back(tmp_path, method):
    ran = run_chf("demo", "--json", "--method", method, home=tmp_path / "unused")
    assert ran.code == 0, ran.err
    outcome = ran.json
    assert (outcome["result"], outcome["method"]) == ("activated", method)
    told = [(alert["use_case"], alert["alert_code"]) for alert in outcome["alerts"]]
    assert sorted(told) == sorted(COMMANDED[method])
    assert {alert["outcome"] for alert in outcome["alerts"]} <= {"success", "verified", "0x02000001"}
    assert all(alert["signature_verified"] for alert in outcome["alerts"])
    assert outcome["device"]["version_after"] == "0x02000001"


def test_an_image_that_the_demos_supplier_did_not_sign_is_refused_by_the_device(tmp_path):
    image = image_file(
        tmp_path / "new.ota", kind="gbcs-signed", more='[signature]\nforce_replace = false\nkey_seed = "x"\n'
    )
    ran = run_chf("demo", "--json", "--method", "hcalcs", "--image", str(image), home=tmp_path / "unused")
    assert ran.code == 1
    assert ran.json["result"] == "failed"
    assert "INVALID_IMAGE" in ran.json["reason"]


def test_an_image_for_one_device_only_is_for_the_device_of_the_demo(tmp_path):
    whole = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x100, 64, 0x0002, 0x1234, 1, 7, 2, b"for one", 64 + 6 + 99)
    image = tmp_path / "for-one.ota"
    image.write_bytes(whole + bytes.fromhex("B7A6958473625100") + struct.pack("<HI", 0, 99) + bytes(99))
    outcome = demo(tmp_path, "--image", image).json
    assert outcome["device"]["eui64"] == "00-51-62-73-84-95-A6-B7"
    check(outcome, image)


LOOKS_LIKE = {
    "a damaged standard file": bytes.fromhex("00000120 99010008") + bytes(range(90)),  # an ARM stack at 0x20010000
    "a signed image": bytes(range(1, 100)) + b"\0\x40" + bytes(64),
}


@pytest.mark.parametrize("what", LOOKS_LIKE)
def test_a_ppmid_image_that_looks_like_another_kind_is_taken_where_its_kind_is_stated(tmp_path, what):
    body = LOOKS_LIKE[what]
    head = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x100, 60, 0x0004, 0x1234, 1, 7, 2, b"", 60 + len(body))
    image = tmp_path / "it.ota"
    image.write_bytes(head + struct.pack("<HH", 0, 0xFFFF) + body)
    assert demo(tmp_path, "--image", image, code=None).code in {1, 3}
    check(demo(tmp_path, "--image", image, "--kind", "gbcs-ppmid").json, image)


def test_an_image_for_the_hub_itself_is_refused(tmp_path):
    whole = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x100, 64, 0x0002, 0x1234, 1, 7, 2, b"for the hub", 64 + 6 + 1)
    image = tmp_path / "for-the-hub.ota"
    image.write_bytes(whole + bytes.fromhex("A29078563412DB00") + struct.pack("<HI", 0, 1) + b"x")
    ran = demo(tmp_path, "--image", image, code=3)
    assert "00-DB-12-34-56-78-90-A2" in ran.err


def test_a_seed_that_no_scenario_takes_is_a_mistake_of_the_caller(tmp_path):
    assert "--seed" in demo(tmp_path, "--seed", 1 << 32, code=2).err


@pytest.mark.parametrize(
    ("name", "radio", "method"),
    [
        ("telink", "znp", "hcalcs"),
        *(
            pytest.param(name, radio, method, marks=pytest.mark.slow)
            for name in PERSONALITIES
            for radio, method in (("ezsp", "ppmid"), ("znp", "hcalcs"))
            if (name, radio) != ("telink", "znp")
        ),
    ],
)
def test_the_device_has_the_ota_client_that_was_asked_for(tmp_path, name, radio, method):
    home = tmp_path / "kept"
    ran = demo(tmp_path, "--personality", name, "--radio", radio, "--method", method, "--home", home)
    assert (ran.json["result"], ran.json["personality"]) == ("activated", name)
    assert f'personality = "{name}"\n' in (home / "demo-scenario.toml").read_text()


def test_an_ota_client_that_nobody_knows_is_a_mistake_of_the_caller_who_is_told_the_others(tmp_path):
    said = demo(tmp_path, "--personality", "nobody", code=2).err
    assert all(f"'{name}'" in said for name in PERSONALITIES)


def test_it_says_the_same_on_both_kinds_of_dongle(tmp_path):
    """But for times, and what is signed with them."""
    image = image_file(tmp_path / "new.ota", size_bytes=600)
    said, outcomes = [], []
    for kind in ("ezsp", "znp"):
        outcome = demo(tmp_path, "--radio", kind, "--image", image).json
        outcome["transfer"].pop("seconds")
        for alert in outcome["alerts"]:
            alert.pop("message")
        outcomes.append(outcome)
        talk = run_chf("demo", "--radio", kind, "--image", str(image), home=tmp_path / "unused").err
        words = re.sub(r"tcp://\S+|[\d.]+ s\b|90-B3\S+|\x1b\[[\d;?]*[A-Za-z]", "#", talk)
        # The bar of the download shows a rate once it knows one, and is cut where the terminal ends.
        bar = re.compile("━|KiB|B/s|0:00:")
        said.append(sorted(line for line in words.splitlines() if not bar.search(line)))
    assert outcomes[0] == outcomes[1]
    assert said[0] == said[1]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    ran = demo(tmp_path, "--home", tmp_path / "file" / "home", code=1)
    assert ran.err == f"chf: cannot write {tmp_path / 'file' / 'home' / 'pki'}: Not a directory\n"


def test_a_dongle_that_dies_ends_the_demo_at_once_with_its_reason(tmp_path):
    ran = demo(tmp_path, "--pcap", "/dev/full", code=5)
    assert ran.err.splitlines()[-1] == "chf: the virtual dongle ended: [Errno 28] No space left on device"
    assert "Traceback" not in ran.err


MOMENTS = ("virtual dongle with one", "network formed", "SR 11.4", "alert CCS08")
ENDS = [
    *((signal.SIGINT, moment) for moment in MOMENTS),
    (signal.SIGTERM, "network formed"),
    (signal.SIGHUP, "SR 11.4"),
    (signal.SIGKILL, "alert CCS08"),
]


@pytest.fixture
def _interruptible():
    """A background job of a shell ignores SIGINT, one under nohup SIGHUP, and so would what it starts."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGHUP, hangup)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(("number", "moment"), ENDS)
def test_however_it_is_ended_nothing_goes_on(tmp_path, number, moment):
    said, home = tmp_path / "said", tmp_path / "home"
    with said.open("wb") as stream:
        process = subprocess.Popen(
            chf_command("demo", "--home", str(home)),
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    until(lambda: moment in said.read_text(), moment, said.read_text)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.wait(20.0) == (-number if number == signal.SIGKILL else 130)
    until(lambda: not processes_with(str(home)), "the virtual dongle to end", lambda: str(processes_with(str(home))))
    for noise in ("Traceback", "never retrieved", "Error"):
        assert noise not in said.read_text()


def processes_with(word):
    found = []
    for process in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if any(word in part for part in command):
            found.append((process.name, command))
    return found
