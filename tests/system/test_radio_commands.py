"""`chf radio` on dongles of both kinds: who answers, networks formed anew, backed up, moved; and files of keys."""

import asyncio
import fcntl
import json
import os
import socket
import stat
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from chf.radio.detect import Answer, recognised
from chf.radio.znp.frames import PING, RESET_IND, RESPONSE, frame
from tests.support.programs import run_chf
from tests.support.virtual_dongle import ppmid, virtual_dongle

pytestmark = pytest.mark.timeout(120)

KINDS = ("ezsp", "znp")


@contextmanager
def answering(reply):
    """A port where `reply(octets)` is said to whatever comes; its URL."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    ports = []

    async def serve() -> None:
        async def talk(reader, writer) -> None:
            try:
                while octets := await reader.read(100):
                    writer.write(reply(octets))
            except ConnectionError:
                pass
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await stopped.wait()

    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"tcp://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_says_by_itself_which_kind_answers_and_keeps_its_network(tmp_path, kind):
    home = tmp_path / "home"
    with virtual_dongle(tmp_path, ppmid(), "--ncp", kind) as dongle:
        empty = run_chf("radio", "probe", dongle.port, "--json", home=home).json
        assert (empty["kind"], empty["channel"]) == (kind, None)
        assert run_chf("run", "--no-form", "--radio", kind, "--port", dongle.port, home=home).code == 5
        formed = run_chf("radio", "form", "--port", dongle.port, "--channel", "20", "--json", home=home).json
        assert (formed["kind"], formed["channel"]) == (kind, 20)
        assert run_chf("radio", "probe", dongle.port, "--json", home=home).json == formed
        assert run_chf("radio", "info", "--port", dongle.port, "--radio", kind, "--json", home=home).json == formed


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_formed_over_another_only_when_told_so(tmp_path, kind):
    home = tmp_path / "home"
    with virtual_dongle(tmp_path, ppmid(), "--ncp", kind) as dongle:
        first = run_chf("radio", "form", "--port", dongle.port, "--json", home=home).json
        refused = run_chf("radio", "form", "--port", dongle.port, home=home)
        assert refused.code == 3
        assert "--replace" in refused.err
        second = run_chf("radio", "form", "--port", dongle.port, "--replace", "--json", home=home).json
        assert second["pan_id"] != first["pan_id"]


@pytest.mark.parametrize(("old", "new"), [("ezsp", "znp"), ("znp", "ezsp")])
def test_a_network_moves_by_a_file_that_is_secret(tmp_path, old, new):
    home, file = tmp_path / "home", tmp_path / "network.json"
    (tmp_path / "other").mkdir()
    with virtual_dongle(tmp_path, ppmid(), "--ncp", old) as dongle:
        nothing = run_chf("radio", "backup", str(file), "--port", dongle.port, home=home)
        assert nothing.code == 5
        assert "no network" in nothing.err
        assert not file.exists()
        formed = run_chf("radio", "form", "--port", dongle.port, "--json", home=home).json
        told = run_chf("radio", "backup", str(file), "--port", dongle.port, "--json", home=home).json
        assert told == {"schema": 1, "port": dongle.port, "file": str(file), "devices": 0}
        keys = tmp_path / "keys"
        ran = run_chf("radio", "keys", "--port", dongle.port, "--out", str(keys), "--json", home=home)
        assert (ran.code, ran.json["port"], ran.json["file"]) == (0, dongle.port, str(keys))
        assert ran.json["keys"] == [{"label": "network", "kind": "nwk"}]
        key = keys.read_text()[1:48]
        assert not any(spelling in ran.out + ran.err for spelling in (key, key.replace(":", "")))
        assert run_chf("radio", "keys", "--port", dongle.port, "--out", str(keys), home=home).code == 2
        again = run_chf("radio", "backup", str(file), "--port", dongle.port, home=home)
        assert again.code == 2
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["network_key"]["key"] == key.replace(":", "")
    with virtual_dongle(tmp_path / "other", ppmid(), "--ncp", new) as dongle:
        ran = run_chf("radio", "restore", str(file), "--port", dongle.port, "--json", home=home)
        assert "old dongle" in ran.err
        assert (ran.json["kind"], ran.json["pan_id"]) == (new, formed["pan_id"])
        assert ran.json["coordinator"] == formed["coordinator"]
        refused = run_chf("radio", "restore", str(file), "--port", dongle.port, home=home)
        assert refused.code == 3
        run_chf("radio", "restore", str(file), "--port", dongle.port, "--replace", home=home)


@pytest.mark.parametrize("contents", ["", "[]", "{}", '{"metadata": {}}', "\x00"])
def test_a_file_that_is_no_backup_is_refused(tmp_path, contents):
    file = tmp_path / "network.json"
    file.write_text(contents)
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        ran = run_chf("radio", "restore", str(file), "--port", dongle.port, home=tmp_path / "home")
    assert ran.code == 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (lambda octets: b"", 5, "raw mode"),
        (lambda octets: b"login: ", 5, "no dongle"),
        (
            lambda octets: b"\r\nGecko Bootloader v1.12.00\r\n1. upload gbl\r\nBL > " * (b"\r" in octets),
            5,
            "Silicon Labs",
        ),
        (lambda octets: b"\x00\xcc" * (b"\x55\x55" in octets), 5, "TI bootloader"),
    ],
    ids=["silence", "something else", "Gecko bootloader", "TI bootloader"],
)
def test_what_is_no_dongle_that_a_hub_can_use_is_told_plainly(tmp_path, reply, code, says):
    with answering(reply) as port:
        ran = run_chf("radio", "probe", port, home=tmp_path / "home")
    assert ran.code == code
    assert says in ran.err
    assert not any(word in ran.err for word in ("Traceback", "flow-control", "group", "fuser", "unplugged"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dongle_whose_last_host_died_in_the_middle_of_a_frame_answers(tmp_path, kind):
    with virtual_dongle(tmp_path, "", "--ncp", kind) as dongle:
        host, _, port = dongle.port.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port)), 5.0) as dying:
            dying.sendall(b"\xfe\xf0\x24\x01" if kind == "znp" else b"\x25\x42\x21\xa8")
        found = run_chf("radio", "probe", dongle.port, "--json", home=tmp_path / "home")
        assert (found.code, found.json["kind"]) == (0, kind)


@pytest.mark.parametrize(
    ("port", "advice", "code"),
    [
        ("/dev/serial/by-id/not-there", "`chf radio probe` lists the ports", 5),
        ("/dev/null", "is no serial port", 5),
        ("/tmp", "is no serial port", 5),
        ("tcp://127.0.0.1:1", "is the adapter on", 5),
        ("foo://x", "is not a port", 2),
    ],
)
@pytest.mark.parametrize("options", [(), ("--radio", "ezsp"), ("--radio", "znp")], ids=["asked", "ezsp", "znp"])
def test_a_port_that_cannot_be_opened_is_told_with_what_to_do(tmp_path, port, advice, code, options):
    ran = run_chf("radio", "probe", port, *options, home=tmp_path / "home")
    assert (ran.code, advice in ran.err, port in ran.err) == (code, True, True), ran.err
    assert "Traceback" not in ran.err


def test_a_terminal_that_another_program_has_is_told_so(tmp_path):
    with virtual_dongle(tmp_path, "", listen="pty") as dongle, Path(dongle.port).open("rb", buffering=0) as terminal:
        fcntl.flock(terminal, fcntl.LOCK_EX)
        ran = run_chf("radio", "probe", dongle.port, home=tmp_path / "home")
        assert (ran.code, f"fuser -v {dongle.port}" in ran.err) == (5, True), ran.err
        assert f"(process {os.getpid()})" in ran.err  # this one


@pytest.mark.parametrize(("asked", "there"), [("ezsp", "znp"), ("znp", "ezsp")])
def test_a_dongle_of_the_other_kind_is_told_with_what_to_do(tmp_path, asked, there):
    with virtual_dongle(tmp_path, "", "--ncp", there) as dongle:
        ran = run_chf("run", "--radio", asked, "--port", dongle.port, home=tmp_path / "home")
        assert (ran.code, f"`chf radio probe {dongle.port}` says who does" in ran.err) == (5, True), ran.err


def test_ports_are_listed_without_asking(tmp_path):
    listed = run_chf("radio", "probe", "--list-only", "--json", home=tmp_path / "home").json
    assert all(line["answer"] == "not asked" for line in listed["ports"])


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        (frame(PING ^ RESPONSE, b"\x59\x06"), Answer.ZNP),
        (b"noise" + frame(RESET_IND, bytes(6)), Answer.ZNP),
        (bytes.fromhex("1ac1020b0a527e"), Answer.EZSP),
        (b"Gecko Bootloader v2.0.1\r\n", Answer.GECKO_BOOTLOADER),
        (b"\x00\xcc", Answer.TI_BOOTLOADER),
        (b"", None),
        (b"login: ", None),
        (frame(PING ^ RESPONSE, b"\x59\x06")[:-1] + b"\x00", None),
    ],
)
def test_dongles_and_bootloaders_are_recognised_by_what_they_say(heard, answer):
    assert recognised(heard) is answer
