"""Work that takes longer than a moment tells of itself, and stops telling when it ends."""

import asyncio

import pytest

from chf.cli.options import run_told


async def until_told(capsys: pytest.CaptureFixture[str], times: int) -> int:
    said = ""
    while said.count("forming") < times:
        await asyncio.sleep(0)
        said += capsys.readouterr().err
    return times


def test_what_takes_long_is_told_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_told(until_told(capsys, 3), "forming a network", first_s=0.0, every_s=0.0) == 3


def test_what_is_done_in_a_moment_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_told(asyncio.sleep(0, "done"), "forming a network", first_s=60.0) == "done"
    assert capsys.readouterr().err == ""


def test_an_error_comes_through(capsys: pytest.CaptureFixture[str]) -> None:
    async def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_told(fails(), "forming a network", first_s=60.0)
    assert capsys.readouterr().err == ""
