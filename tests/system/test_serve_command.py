"""`python -m devices serve` as a user meets it: the first line, signals, errors, recordings."""

import asyncio
import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.bench.serve import ServeOptions, serve
from devices.bench.world import World, build_world
from tests.support.virtual_dongle import ROOT, ppmid, serve_command, virtual_dongle


def refused(*command: str) -> str:
    """Standard error of a command that must end with exit code 2."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_told(tmp_path: Path, number: int) -> None:
    with virtual_dongle(tmp_path, "seed = 4\n" + ppmid(count=2)) as dongle:
        assert dongle.port.startswith("tcp://127.0.0.1:")
        assert dongle.ready["ncp"] == "ezsp"
        assert (dongle.ready["devices"], dongle.ready["seed"]) == (2, 4)
        assert dongle.ready["pid"] == dongle.process.pid
        booted = dongle.wait_for("booted")
        assert (booted["eui64"], booted["file_version"]) == ("00-DB-12-34-56-78-90-A4", 1)
        assert dongle.stop(number) == 0


@pytest.mark.parametrize("more", [(), ("--control", "--events", "-")])
def test_tied_it_ends_with_standard_input(tmp_path: Path, more: tuple[str, ...]) -> None:
    path = tmp_path / "it.toml"
    path.write_text("")
    command = serve_command(path, "--tied", *more)
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        assert "port" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(10.0) == 0


def test_a_terminal_with_a_link(tmp_path: Path) -> None:
    link = tmp_path / "dongle"
    with virtual_dongle(tmp_path, listen=f"pty:{link}") as dongle:
        assert dongle.port == str(link)
        assert stat.S_ISCHR(link.stat().st_mode)
        assert dongle.stop() == 0
    assert not os.path.lexists(link)


def test_what_is_wrong_with_a_scenario_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_text("[medium]\nlosss = 1\n")
    error = refused(*serve_command(path))
    known = "delay_s, duplicate, loss, reorder, reorder_hold_s"
    assert error == f"error: {path}: medium.losss: is not known here: use one of {known}, or remove it\n"
    assert "cannot be read" in refused(*serve_command(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize("listen", ["udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://:1"])
def test_a_port_that_is_none(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "it.toml"
    path.write_text("")
    assert "is not a port: write tcp://127.0.0.1:0, pty, or pty:PATH" in refused(
        *serve_command(path, "--listen", listen)
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path) as dongle:
        assert "choose another --listen" in refused(*serve_command(tmp_path / "scenario.toml", "--listen", dongle.port))


def test_a_link_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_text("")
    refused(*serve_command(path, "--listen", f"pty:{path}"))
    assert path.read_text() == ""


def test_a_link_of_an_earlier_run_is_replaced_and_no_other(tmp_path: Path) -> None:
    link = tmp_path / "dongle"
    link.symlink_to("/dev/pts/4711")
    with virtual_dongle(tmp_path, listen=f"pty:{link}"):
        assert stat.S_ISCHR(link.stat().st_mode)
    link.symlink_to(tmp_path)
    refused(*serve_command(tmp_path / "scenario.toml", "--listen", f"pty:{link}"))
    assert link.readlink() == tmp_path


def test_recordings_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_text("")
    for option in ("--pcap", "--keys", "--events"):
        assert "nowhere" in refused(*serve_command(path, option, str(tmp_path / "nowhere" / "file")))


def test_the_recordings(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), capture=True) as dongle:
        dongle.wait_for("join_failed")
        assert dongle.capture.read_bytes()[:4] == bytes.fromhex("D4C3B2A1")
        assert dongle.capture.stat().st_size > 100  # beacon requests, written while it runs
        assert stat.S_IMODE(dongle.keys.stat().st_mode) == 0o600
        assert "66:b6:90:09:81:e1:ee:3c:a4:20:6b:6b:86:1c:02:bb" in dongle.keys.read_text()


def test_events_in_a_file(tmp_path: Path) -> None:
    path, events = tmp_path / "it.toml", tmp_path / "events.jsonl"
    path.write_text(ppmid())
    with subprocess.Popen(
        serve_command(path, "--events", str(events)), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["devices"] == 1
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait(10) == 0
    assert events.exists()


async def test_a_fault_of_the_virtual_world_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty_world(*arguments: Any) -> World:
        world = build_world(*arguments)
        world.queue.call_later(0.01, lambda: 1 // 0)
        return world

    path = tmp_path / "it.toml"
    path.write_text("")
    monkeypatch.setattr("devices.bench.serve.build_world", faulty_world)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10.0):
            await serve(ServeOptions(path))
    assert json.loads(capsys.readouterr().out)["devices"] == 0
