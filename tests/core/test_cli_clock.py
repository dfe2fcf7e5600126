"""Whoever asks hears that the clock is not trusted, why, and what to do."""

import json
import time

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.clock import Instant, UtcSeconds
from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.radio.interface import RADIO_NOTE
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceType
from chf.store.inbox import Verb
from chf.trust import ClockRecord
from chf.update.model import ActivateAt
from tests.support.updates import accepted

PPMID = Eui64(0x00DB_1234_5678_90A4)
WHY = "it was set forward by 1 day, 0:00:00"
REMEDY = "set it or, where it is right, say so: chf clock trust"


@pytest.fixture(params=["", WHY], ids=["trusted", "not trusted"])
def told(tmp_path, request):
    """What a command says on a home whose hub thought so of its clock."""
    now = UtcSeconds(time.time())
    with Store.open(tmp_path) as store, store.transaction() as tx:
        tx.meta.note_clock(ClockRecord(now, Instant(1.0), "", request.param, now))
        tx.meta.set(RADIO_NOTE, json.dumps({"state": "up", "reason": "x", "since": "2027-01-15T08:00:00Z"}))
        tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, 0.0, bytes(16)))
        tx.updates.add(
            accepted(1, PPMID, ImageId("cd" * 32), now_utc=now, activation=ActivateAt(UtcSeconds(now + 3600)))
        )

    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(chf, [*arguments, "--home", str(tmp_path)])
        return f"{ran.output} {ran.exception or ''}"

    run.trusted, run.home = not request.param, tmp_path
    return run


@pytest.mark.parametrize(
    "arguments", [("clock", "show"), ("doctor",), ("radio", "info"), ("watch", "--once"), ("update", "show", "1")]
)
def test_who_asks_hears_whether_the_clock_is_trusted(told, arguments):
    said = " ".join(told(*arguments).split())
    assert (WHY in said) is not told.trusted
    assert (REMEDY in said) is not told.trusted


def test_programs_hear_it_too(told):
    why = "" if told.trusted else WHY
    assert json.loads(told("radio", "info", "--json"))["clock_distrust"] == why
    shown = json.loads(told("clock", "show", "--json"))
    assert (shown["trusted"], shown["distrust"]) == (told.trusted, why)


@pytest.mark.parametrize(
    "arguments",
    [("start", "--device", f"{PPMID:016X}", "--image", "none"), ("activate", "1")],
    ids=["start", "activate"],
)
def test_no_activation_time_is_taken_by_a_clock_that_is_not_trusted(told, arguments):
    asked = told("update", *arguments, "--at", "+1h")
    assert (f"nothing is appointed while the clock is not trusted ({WHY}): {REMEDY}" in asked) is not told.trusted
    assert ("nothing is appointed" in told("update", *arguments)) is False


def test_who_waits_for_an_activation_time_hears_that_it_waits_for_the_clock(told):
    followed = told("update", "wait", "1", "--timeout", "0.1")
    assert (f"the activation time waits: {WHY}" in followed) is not told.trusted


def test_nothing_is_pruned_by_a_clock_that_is_not_trusted(told):
    assert ("is not trusted (it was set forward" in told("store", "prune", "--older-than", "1")) is not told.trusted
    assert "would go" in told("store", "prune", "--older-than", "1", "--dry-run")


def test_a_word_for_the_clock_waits_for_the_hub(told):
    assert "queued" in told("clock", "trust")
    with Store.open(told.home) as store:
        (command,) = store.inbox.pending()
    assert command.verb == Verb.CLOCK_TRUST
