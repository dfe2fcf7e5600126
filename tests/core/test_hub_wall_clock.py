"""The running hub and a wall clock that people set: lifetimes stay, appointments wait, and everybody is told."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import format_eui64, parse_eui64
from chf.hub.hub import POLL_S
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_messages import MessageState, NewDeviceMessage
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.trace import Kind
from chf.trust import SETTLE_S
from chf.update.model import UpdateState
from chf.zcl import ota, time
from chf.zcl.frame import Frame
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network
from tests.support.programs import image_file
from tests.support.virtual_time import MORNING_UTC_S, let_pass, virtual_time

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
DAY = 86_400.0
LIFETIME_S = 900.0
READ_TIME = bytes.fromhex("00 07 00 0000")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
WAIT = 0xFFFF_FFFF


class SetClock:
    """The loop's seconds, and a wall clock that is off by what somebody set."""

    def __init__(self, off_s: float = 0.0) -> None:
        self.off_s = off_s

    def now(self) -> Now:
        seconds = asyncio.get_running_loop().time()
        return Now(Instant(seconds), UtcSeconds(MORNING_UTC_S + seconds + self.off_s), boot="this start of the machine")

    def instant(self) -> Instant:
        return self.now().instant


class Bench:
    def __init__(self, store: Store, image, clock: SetClock) -> None:
        self.store, self.image, self.clock = store, image, clock
        self.radio = MemoryRadio()

    @asynccontextmanager
    async def hub(self):
        """Until it is killed: what it had not written is lost."""
        self.radio = MemoryRadio()
        async with hub_on_desk(self.store, self.radio, clock=self.clock) as desk:
            yield desk

    def submit(self, verb: Verb, body) -> int:
        with Store.open(self.store.home) as beside, beside.transaction() as tx:
            return tx.inbox.submit(verb, body, self.clock.now().utc)

    async def order(self, activation=None, lifetime_s: float = LIFETIME_S) -> int:
        body = {"devices": [format_eui64(PPMID)], "image": self.image.sha256, "lifetime_s": lifetime_s}
        number = self.submit(Verb.UPDATE_START, body | {"activation": activation or {"kind": "now"}})
        await let_pass(5.5 * POLL_S)  # between two looks
        return number

    def at(self, seconds: float, strategy: str = "hold"):
        utc = self.clock.now().utc + seconds
        return {"kind": "at", "utc": utc, "strategy": strategy, "time_form": "relative"}

    def row(self):
        (row,) = self.store.updates.list()
        return row

    def left_s(self) -> float:
        return self.row().deadline - self.clock.now().utc

    def download(self) -> None:
        header = self.image.header
        ids = (header.manufacturer_code, header.image_type, header.file_version)
        self.says(QUERY)
        for offset in range(0, len(self.image.content), 40):
            self.says(ota.command(ota.ImageBlockRequest(*ids, offset, 40), 2))
        self.says(ota.command(ota.UpgradeEndRequest(0, *ids), 3))

    def says(self, octets: bytes) -> None:
        self.radio.says(PPMID, ota.CLUSTER, octets)

    def told(self) -> list[int]:
        """The upgrade times of the Upgrade End Responses."""
        frames = [Frame.from_bytes(message.payload) for message in self.radio.to_cluster(ota.CLUSTER)]
        ends = [frame for frame in frames if frame.command == ota.UpgradeEndResponse.COMMAND and frame.payload[1:]]
        return [
            ota.UpgradeEndResponse.from_bytes(frame.payload).upgrade_time for frame in ends if len(frame.payload) > 8
        ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a story that is given a bench."""
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())

    def run_story(story, off_s: float = 0.0):
        with virtual_time(monkeypatch) as run, Store.open(tmp_path / "home", hub=True) as store:
            on_the_network(store, PPMID)
            with store.transaction() as tx:
                entry = replace(tx.devices.get(PPMID), client_class="silicon-labs")  # it can be held for hours
                tx.devices.update(entry)
                tx.images.add(record_of(image, "new", 0.0), image.content)
            run(story(Bench(store, image, SetClock(off_s))))

    return run_story


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("step_s", [-10 * DAY, 10 * DAY, 365 * DAY])
def test_a_clock_that_is_set_and_a_hub_that_is_killed_right_after_expire_nothing(run, step_s, noticed):
    async def story(bench):
        async with bench.hub():
            await bench.order()
            bench.clock.off_s += step_s
            if noticed:
                await let_pass(1)
                assert bench.left_s() == pytest.approx(LIFETIME_S, abs=3), "durably, and at once"
        async with bench.hub() as desk:
            await let_pass(1)
            assert bench.row().active
            assert bench.left_s() == pytest.approx(LIFETIME_S, abs=6)
            assert (Kind.CLOCK_STEPPED in desk.kinds()) is not noticed, "once"
            await let_pass(LIFETIME_S - 10)
            assert bench.row().active
            await let_pass(10)
            assert bench.row().state is UpdateState.EXPIRED, "neither is its time prolonged"

    run(story)


def test_a_clock_ten_days_ahead_that_is_set_right_keeps_the_appointment_of_the_order(run):
    async def story(bench):
        async with bench.hub():
            await bench.order(bench.at(3600))
            bench.download()
            appointment = bench.row().activation.utc
            bench.clock.off_s -= 10 * DAY
            await let_pass(3600 + LIFETIME_S + 60)
            assert bench.told() == [WAIT]
            assert bench.row().deadline == appointment + LIFETIME_S
        async with bench.hub():
            await let_pass(1)
            assert bench.row().state is UpdateState.WAITING
            assert set(bench.told()) == {WAIT}

    run(story, off_s=10 * DAY)


@pytest.mark.parametrize("step_s", [3600.0, 365 * DAY])
def test_a_clock_that_is_set_forward_beyond_an_appointment_activates_nothing(run, step_s):
    async def story(bench):
        async with bench.hub():
            await bench.order(bench.at(3600))
            bench.download()
            bench.clock.off_s += step_s
            await let_pass(SETTLE_S / 2)
            assert bench.told() == [WAIT]
        async with bench.hub():
            await let_pass(SETTLE_S / 2)
            assert set(bench.told()) == {WAIT}, "nor does a restart make the clock right"
            bench.clock.off_s -= step_s
            await let_pass(3600)
            assert bench.told()[-1] != WAIT

    run(story)


def test_a_clock_that_nobody_set_takes_no_activation_times_and_claims_nothing(run):
    async def story(bench):
        async with bench.hub() as desk:
            await let_pass(1)
            assert [event.kind for event in desk.told if event.kind.name.startswith("CLOCK")] == [Kind.CLOCK_DISTRUSTED]
            number = await bench.order(bench.at(3600))
            refused = bench.store.inbox.get(number)
            assert refused.state is CommandState.REFUSED
            assert (
                "nobody has set it): set it or, where it is right, say so: chf clock trust" in refused.result["reason"]
            )
            await bench.order()
            refused = bench.store.inbox.get(
                bench.submit(Verb.UPDATE_ACTIVATE, {"update": 1, "activation": bench.at(60)})
            )
            await let_pass(1)
            assert bench.store.inbox.get(refused.id).state is CommandState.REFUSED
            bench.radio.says(PPMID, time.CLUSTER, READ_TIME)
            (answer,) = bench.radio.to_cluster(time.CLUSTER)
            assert answer.payload.endswith(b"\xe2\xff\xff\xff\xff")
            bench.clock.off_s = 0.0
            await let_pass(SETTLE_S + 1)
            assert desk.kinds()[-1] is Kind.CLOCK_TRUSTED
            assert bench.row().active
            assert bench.left_s() == pytest.approx(LIFETIME_S - SETTLE_S, abs=10)

    run(story, off_s=-MORNING_UTC_S)


def test_a_person_who_says_that_the_clock_is_right_is_believed_over_a_restart(run):
    async def story(bench):
        async with bench.hub() as desk:
            bench.clock.off_s = 365 * DAY
            await let_pass(SETTLE_S + 1)
            number = bench.submit(Verb.CLOCK_TRUST, {})
            await let_pass(1)
            assert bench.store.inbox.get(number).state is CommandState.DONE
            assert desk.kinds()[-1] is Kind.CLOCK_TRUSTED
        async with bench.hub() as desk:
            await bench.order(bench.at(3600))
            assert bench.row().active
            assert Kind.CLOCK_DISTRUSTED not in desk.kinds()

    run(story)


def test_a_message_for_a_device_has_as_long_left_after_a_clock_step_as_before(run):
    async def story(bench):
        now = bench.clock.now().utc
        with bench.store.transaction() as tx:
            message = NewDeviceMessage(PPMID, "cli", 0x00D8, 71, b"", now, UtcSeconds(now + LIFETIME_S))
            tx.device_messages.add(message)
        async with bench.hub():
            await let_pass(5.5 * POLL_S)
            bench.clock.off_s += 10 * DAY
            await let_pass(1)
            (row,) = bench.store.device_messages.list()
            assert row.state is MessageState.WAITING
            assert row.expires - bench.clock.now().utc == pytest.approx(LIFETIME_S, abs=3)

    run(story)
