"""Of which class a device's OTA client is taken to be: by what it shows on the air, with what reasons, and how sure."""

from itertools import product

import pytest

from chf.clock import Instant
from chf.update.clients import CLASSES, UNKNOWN, OnReboot, Resume
from chf.update.effects import Send
from chf.update.machine import About, FrameReceived
from chf.update.model import DeviceRejoined
from chf.update.recognition import NOTHING_SHOWN, SHOWS, Confidence, Traits, Watch, recognise
from chf.zcl import ota
from chf.zcl.frame import Status
from devices.nodes.personalities import PERSONALITIES
from tests.support.ota_bench import IDS, MANUFACTURER, NEW
from tests.support.schedules import Deed, Schedule
from tests.support.update_world import World

PERIOD, NODE_AND_PERIOD = 2, 3
FAR = 4800


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("silicon-labs", Traits(block_bytes=63, field_control=0)),
        ("silicon-labs", Traits(page_block_bytes=32)),
        ("telink", Traits(block_bytes=48, field_control=PERIOD)),
        ("telink", Traits(manufacturer_code=0x1141)),
        ("ti", Traits(block_bytes=32, field_control=PERIOD)),
        ("nxp", Traits(block_bytes=48, field_control=0)),
        ("st", Traits(manufacturer_code=0x1041, block_bytes=50, field_control=0)),
        ("microchip", Traits(block_bytes=50, field_control=0, heeds_wait=False)),
        ("nordic", Traits(block_bytes=40, field_control=NODE_AND_PERIOD)),
        ("esp-v1", Traits(block_bytes=64, field_control=NODE_AND_PERIOD)),
        ("esp-v2", Traits(manufacturer_code=0x131B, block_bytes=48, field_control=PERIOD)),
    ],
)
def test_each_class_has_traits_by_which_it_is_likely(name, traits):
    recognition = recognise(traits)
    assert (recognition.client, recognition.confidence) == (CLASSES[name], Confidence.LIKELY)
    assert recognise(traits, "unknown").client is UNKNOWN


@pytest.mark.parametrize(
    ("traits", "last"),
    [
        (NOTHING_SHOWN, "it has shown nothing yet"),
        (Traits(manufacturer_code=MANUFACTURER), "it may be one of "),
        (Traits(block_bytes=50, field_control=0), "it may be one of st, microchip, or of none"),
        (Traits(block_bytes=48), "it may be one of "),
        (Traits(block_bytes=223, field_control=0), "it may be one of "),
        (Traits(heeds_wait=True), "it may be one of "),
        (Traits(starts_over=True, heeds_wait=False), "no class shows all of this"),
    ],
)
def test_what_several_show_or_none_is_unknown(traits, last):
    recognition = recognise(traits)
    assert (recognition.client, recognition.confidence) == (UNKNOWN, Confidence.UNKNOWN)
    assert recognition.reasons[-1].startswith(last)


TELINK = {"block_bytes": 48, "field_control": PERIOD}


@pytest.mark.parametrize(
    "against",
    [
        {"manufacturer_code": 0x1002},
        {"block_bytes": 63},
        {"field_control": 0},
        {"page_block_bytes": 32},
        {"retry_s": 4},
        {"keeps_offset": False},
        {"starts_over": True},
        {"heeds_wait": False},
        {"changes": True},
    ],
    ids=lambda against: next(iter(against)),
)
def test_one_trait_that_a_class_cannot_have_rules_it_out(against):
    assert recognise(Traits(**TELINK)).client is CLASSES["telink"]
    assert recognise(Traits(**TELINK | against)).client is not CLASSES["telink"]


@pytest.mark.parametrize("more", [{"retry_s": 5}, {"retry_s": 11}, {"keeps_offset": True}, {"heeds_wait": True}])
def test_what_it_may_show_as_well_changes_nothing(more):
    assert recognise(Traits(**TELINK, **more)).client is CLASSES["telink"]


def bolder(one, other):
    """In which columns one class lets the hub go further than the other."""
    forever = float("inf")
    ways = {
        "commit_window_s": one.commit_window_s > other.commit_window_s,
        "hold_limit_s": (one.hold_limit_s or forever) > (other.hold_limit_s or forever),
        "honours_wait": one.honours_wait > other.honours_wait,
        "answer_limit_s": one.answer_limit_s > other.answer_limit_s,
        "resume": [*Resume].index(one.resume) < [*Resume].index(other.resume),
        "on_reboot": [*OnReboot].index(one.on_reboot) < [*OnReboot].index(other.on_reboot),
    }
    return {way for way, is_so in ways.items() if is_so}


def test_no_traits_let_the_hub_go_further_than_with_an_unknown_client():
    values = {
        "manufacturer_code": (None, MANUFACTURER, 0x1049, 0x1141, 0x127F),
        "block_bytes": (None, 32, 40, 48, 50, 63, 64, 223),
        "field_control": (None, 0, PERIOD, NODE_AND_PERIOD),
        "page_block_bytes": (None, 32),
        "retry_s": (None, 3, 5),
        "keeps_offset": (None, True, False),
        "heeds_wait": (None, True, False),
    }
    found = set()
    for each in product(*values.values()):
        recognition = recognise(Traits(**dict(zip(values, each, strict=True))))
        assert not bolder(recognition.limits, UNKNOWN)
        assert not bolder(recognition.limits, recognition.client)
        assert recognition.confidence is not Confidence.CERTAIN
        found.add(recognition.client.name)
    assert found == set(CLASSES), "each is recognised by something"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_that_was_set_is_certain_and_has_its_own_limits(name):
    recognition = recognise(Traits(**TELINK), name)
    assert (recognition.client, recognition.limits) == (CLASSES[name], CLASSES[name])
    assert recognition.confidence is Confidence.CERTAIN
    assert recognition.reasons[:2] == ("set by hand", "it asks for blocks of 48 octets")


def test_every_class_but_the_unknown_one_is_said_to_show_something():
    assert set(SHOWS) == set(CLASSES) - {UNKNOWN.name}


@pytest.mark.parametrize(
    "traits", [NOTHING_SHOWN, Traits(**TELINK), Traits(0x10D8, 48, 2, 32, 5, True, True, False, True)]
)
def test_traits_are_written_and_read(traits):
    assert Traits.from_json(traits.to_json()) == traits


@pytest.mark.parametrize(
    "record", [{"block_bytes": "48"}, {"block_bytes": True}, {"block_bytes": -1}, {"heeds_wait": 1}, {"colour": 1}]
)
def test_traits_that_nobody_wrote_are_not_read(record):
    with pytest.raises((ValueError, TypeError)):
        Traits.from_json(record)


# What a watch makes of frames


class Heard:
    """A watch, and a clock beside it."""

    def __init__(self, traits=NOTHING_SHOWN):
        self.watch, self.at, self.sequence = Watch(traits), 100.0, 0

    @property
    def traits(self):
        return self.watch.traits

    def hear(self, body, answer=None, after_s=0.1):
        self.at += after_s
        self.sequence = (self.sequence + 1) % 256
        answered = None if answer is None else ota.command(answer, self.sequence)
        return self.watch.hear(ota.command(body, self.sequence), answered, Instant(self.at))

    def query(self, manufacturer=MANUFACTURER):
        return self.hear(ota.QueryNextImageRequest(manufacturer, 4, 1), ota.QueryNextImageResponse(0x98))

    def block(self, offset, size=48, *, wait=None, after_s=0.1, **more):
        answer = ota.ImageBlock(*IDS, offset, bytes(size)) if wait is None else ota.WaitForData(0, wait)
        return self.hear(ota.ImageBlockRequest(*IDS, offset, size, **more), answer, after_s)

    def download(self, to, size=48, start=0):
        for offset in range(start, to, size):
            self.block(offset, size)


def test_a_query_and_the_first_blocks_are_looked_at():
    heard = Heard()
    assert heard.query()
    assert heard.block(0, minimum_block_period=0)
    assert not heard.block(48, minimum_block_period=0)
    assert heard.traits == Traits(manufacturer_code=MANUFACTURER, block_bytes=48, field_control=PERIOD)
    heard.download(960, start=96)
    assert not heard.block(960, size=200), "later ones are not"
    assert not heard.query(), "nothing new"
    assert heard.block(1200, size=63), "until it asks for an image again"
    assert heard.traits.block_bytes == 63


def test_a_short_block_where_a_download_resumes_is_not_what_it_asks_for():
    heard = Heard()
    heard.block(48, size=2)
    heard.query()
    heard.block(0)
    assert heard.traits.block_bytes == 48


def test_a_short_block_at_the_end_of_a_file_is_not_either():
    heard = Heard()
    heard.block(0)
    heard.block(48, size=2)
    heard.block(50, size=0)
    assert heard.traits.block_bytes == 48
    heard = Heard()
    heard.block(0, size=0)
    assert heard.traits == NOTHING_SHOWN


def test_the_fields_of_a_block_request_are_told_apart():
    heard = Heard()
    heard.block(0, node=0xA4, minimum_block_period=0)
    assert heard.traits.field_control == NODE_AND_PERIOD


def test_who_changes_its_habits_is_of_no_class():
    heard = Heard()
    heard.block(0, minimum_block_period=0)
    heard.block(48)
    assert heard.traits.changes
    assert recognise(heard.traits).client is UNKNOWN


def test_the_blocks_of_a_page_and_those_that_fill_its_gaps_are_not_taken_for_its_own():
    heard = Heard()
    heard.block(0, size=48)
    heard.hear(ota.ImagePageRequest(*IDS, 0, 32, 1024, 50))
    heard.block(64, size=32)
    assert heard.traits == Traits(page_block_bytes=32)
    heard.download(FAR)
    heard.hear(ota.ImagePageRequest(*IDS, 0, 32, 1024, 50))
    heard.block(0, size=32)
    assert heard.traits == Traits(page_block_bytes=32), "nor for a beginning"


def test_the_shortest_time_to_a_block_that_is_asked_for_again_counts():
    heard = Heard()
    heard.download(960)
    heard.block(912, after_s=10.2)
    assert heard.traits.retry_s == 10
    heard.block(912, after_s=5.1)
    heard.block(912, after_s=7)
    assert heard.traits.retry_s == 5
    heard.block(912, after_s=0.2)
    assert heard.traits.retry_s == 5, "that was one frame that came twice"


def test_who_asks_three_times_within_a_wait_does_not_heed_it():
    heard = Heard()
    heard.download(960)
    heard.block(960, wait=300)
    assert not heard.block(960, wait=300, after_s=0.1)
    assert not heard.block(960, wait=300, after_s=0.1)
    assert heard.block(960, wait=300, after_s=0.1)
    assert heard.traits.heeds_wait is False
    heard.block(960, after_s=300)
    assert heard.traits.heeds_wait is False


def test_who_asks_again_when_its_wait_is_over_heeds_it():
    heard = Heard()
    heard.download(960)
    heard.block(960, wait=300)
    assert not heard.block(960, wait=300, after_s=200), "neither early nor on time"
    assert heard.block(960, wait=300, after_s=300)
    assert heard.traits.heeds_wait is True
    assert heard.traits.retry_s is None


def test_three_times_in_a_row():
    heard = Heard()
    heard.download(960)
    for after_s in (0.1, 0.1, 0.1, 200, 0.1, 0.1):
        heard.block(960, wait=300, after_s=after_s)
    assert heard.traits.heeds_wait is None


def test_a_wait_that_is_too_short_to_tell_says_nothing():
    heard = Heard()
    heard.download(960)
    for _ in range(5):
        heard.block(960, wait=1, after_s=0.1)
    assert heard.traits.heeds_wait is None


@pytest.mark.parametrize(
    ("reached", "begins_at", "keeps"), [(FAR, FAR, True), (FAR, 0, False), (960, 0, None), (960, 480, True)]
)
def test_a_restart_in_a_download_shows_what_it_keeps(reached, begins_at, keeps):
    heard = Heard()
    heard.download(reached)
    heard.watch.arrived()
    heard.query()
    heard.block(begins_at)
    assert heard.traits.keeps_offset is keeps


def test_a_rejoin_without_a_query_is_no_restart():
    heard = Heard()
    heard.download(FAR)
    heard.watch.arrived()
    heard.block(FAR)
    assert heard.traits.keeps_offset is None
    heard.watch.arrived()
    heard.block(0)
    assert (heard.traits.keeps_offset, heard.traits.starts_over) == (None, None)
    heard.download(FAR)
    heard.watch.arrived()
    heard.block(FAR)
    heard.query()
    heard.block(0)
    assert heard.traits.keeps_offset is None, "that query came for another reason"


def test_the_hub_may_hear_the_query_before_it_hears_of_the_restart():
    heard = Heard()
    heard.download(FAR)
    heard.query()
    heard.watch.arrived()
    heard.block(0)
    assert heard.traits.keeps_offset is False


@pytest.mark.parametrize(
    ("between", "reached", "starts_over"),
    [
        (lambda _heard: None, FAR, True),
        (lambda _heard: None, 960, None),
        (Heard.query, FAR, None),
        (lambda heard: heard.hear(ota.UpgradeEndRequest(Status.ABORT, *IDS)), FAR, None),
    ],
    ids=["far into it", "a late frame", "after a query", "after it gave up"],
)
def test_who_begins_at_the_first_octet_in_a_download_starts_over(between, reached, starts_over):
    heard = Heard()
    heard.download(reached)
    between(heard)
    heard.block(0)
    assert heard.traits.starts_over is starts_over


def test_another_image_is_another_download():
    heard = Heard()
    heard.download(FAR)
    heard.hear(ota.ImageBlockRequest(*IDS[:2], NEW + 1, 0, 48))
    assert heard.traits.starts_over is None


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x01",
        b"\x01\x00\x03",
        b"\x01\x00\x03" + bytes(13),
        b"\x01\x00\x01\x00",
        b"\x05\x34\x12\x00\x03" + bytes(14),
        b"\x19\x00\x03" + bytes(13) + b"\x3f",
        b"\x00\x00\x01" + bytes(20),
        b"\x01\x00\x7f",
        b"\x01\x00\x08" + bytes(18),
    ],
)
def test_what_is_no_request_of_an_ota_client_shows_nothing(octets):
    heard = Heard(Traits(**TELINK))
    assert not heard.watch.hear(octets, None, Instant(1.0))
    assert heard.traits == Traits(**TELINK)


def test_a_later_process_goes_on_with_what_was_written():
    heard = Heard(Traits(**TELINK, heeds_wait=True))
    heard.block(960, size=48, minimum_block_period=0)
    assert heard.traits == Traits(**TELINK, heeds_wait=True)


# The emulated clients


ASKS_ALIKE = {"esp-v2": "nxp"}
"""Emulated clients that show nothing by which the class is told from another."""
UNFORESEEN = {"honours_wait"}
"""Before it has been told to wait, nobody knows that a client will not."""


class HeardWorld(World):
    """The hub's core, an emulated client, and a watch that hears what the hub hears."""

    def __init__(self, schedule):
        self.watch, self.limits = Watch(NOTHING_SHOWN), set()
        super().__init__(schedule)

    def hub(self, event):
        if isinstance(event, About) and isinstance(event.event, DeviceRejoined):
            self.watch.arrived()
        if not isinstance(event, FrameReceived):
            super().hub(event)
            return
        effects = self.machine.handle(event, self.now)
        answer = next((effect.payload for effect in effects if isinstance(effect, Send)), None)
        self.watch.hear(event.payload, answer, self.now.instant)
        self.limits.add(recognise(self.watch.traits).limits)
        self.carry_out(effects, asked=True)


@pytest.mark.parametrize("name", PERSONALITIES)
@pytest.mark.parametrize(
    "deeds",
    [(), (Deed("lose", "block", 10),), (Deed("cut", "block", 20), Deed("lose", "block request", 30))],
    ids=["all well", "a block is lost", "a power cut"],
)
def test_an_emulated_client_is_taken_for_what_it_is_or_for_an_unknown_one(name, deeds):
    world = HeardWorld(Schedule(name, "at", 9000.0, body_bytes=1900, deeds=deeds))
    world.pass_time(3600.0)
    assert world.watch.traits.heeds_wait is not None
    assert recognise(world.watch.traits).client.name in {name, "unknown", ASKS_ALIKE.get(name)}
    own = CLASSES.get(name, UNKNOWN)
    assert not any(bolder(limits, own) - UNFORESEEN for limits in world.limits)
    assert not bolder(recognise(world.watch.traits).limits, own)
