"""Documents of the DCC side over HTTP, to receivers that are down, slow or difficult."""

import asyncio
import contextlib
import sqlite3
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from chf import background
from chf.clock import SystemClock, UtcSeconds
from chf.dcc.conversion import Conversion
from chf.dcc.delivery import Delivery
from chf.dcc.settings import DccSettings, DeliveryPolicy, User
from chf.dcc.side import DccSide
from chf.dcc.signers import NOBODY
from chf.errors import StoreError
from chf.eui64 import Eui64
from chf.gbcs import make_cs09_alert
from chf.store import NewAlert, Store
from chf.store.uplink import NewDocument
from chf.trace import Kind
from tests.support.dcc_bench import ACB, KEYS, NOW, PPMID, SECOND, STRANGER, SUPPLIER, log_devices, make_pki
from tests.support.waiting import until

XML = {"Content-Type": "application/xml"}
PATIENCE_S = 20.0


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        log_devices(opened)
        yield opened


class Receiver:
    """A user's receive address: takes what it gets by the plan, then everything."""

    def __init__(self, *plan: int | str) -> None:
        self.plan, self.got, self.taken = list(plan), [], []
        self.answers = asyncio.Event()  # cleared, it takes connections and does not answer
        self.answers.set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        self.got.append(body)
        await self.answers.wait()
        status = self.plan.pop(0) if self.plan else 204
        if status == "lost":
            self.taken.append(body)
            request.transport.abort()
            return web.Response(status=204)
        if status == 204:
            self.taken.append(body)
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0):
        application = web.Application()
        application.router.add_post("/duis", self.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/duis"
        try:
            yield self
        finally:
            await runner.cleanup()


POLICY = DeliveryPolicy(timeout_s=30.0, first_pause_s=0.01, longest_pause_s=0.05, refusals_until_parked=3)
HASTY = replace(POLICY, timeout_s=0.5)


def queue(store, *names, device=PPMID, recipient=SUPPLIER):
    with store.transaction() as tx:
        for name in names:
            tx.uplink.add(NewDocument(name, recipient, device, "alert", name.encode(), NOW.utc))


@contextlib.asynccontextmanager
async def delivering(store, url, policy=POLICY, **settings):
    settings = DccSettings(delivery=policy, default_receive_url=url, **settings)
    task = asyncio.create_task(Delivery(store, settings, SystemClock()).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def all_delivered(store):
    return not store.uplink.list(undelivered=True)


@pytest.mark.parametrize("status", [301, 307, 308, 500, 503, 200, 202, 302, 404, 401, 400])
async def test_delivery_of_anything_but_204_is_tried_again_before_the_next(store, status):
    """A 400, too, where the receiver changes its mind in time."""
    queue(store, "a", "b")
    async with Receiver(status, status).listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    assert receiver.got == ["a", "a", "a", "b"]
    assert store.uplink.get(1).attempts == 3


async def test_delivery_that_is_called_invalid_is_put_aside_and_the_rest_goes_on(store):
    queue(store, "poison", "b")
    async with Receiver(400, 400, 400).listening() as receiver, delivering(store, receiver.url):
        await until(lambda: receiver.taken == ["b"])
    poison = store.uplink.get(1)
    assert (poison.parked, poison.delivered, poison.last_error) == (True, None, "answered 400, 204 is expected")
    alarms = [record.event for record in store.audit.tail() if record.event.kind.value == "alarm"]
    assert "poison was put aside" in str(alarms[0].fields["reason"])


async def test_delivery_waits_for_a_receiver_that_is_down_for_a_while(store):
    """Ten devices, fifty documents: all arrive, in order for each device, none twice, and one at a time knocks."""
    receiver = Receiver()
    async with receiver.listening():
        port, url = receiver.port, receiver.url
    for number in range(50):
        queue(store, f"{number % 10}/{number:02}", device=Eui64(number % 10))
    async with delivering(store, url):
        await until(lambda: store.uplink.get(1).attempts >= 3)
        knocked = [document.attempts for document in store.uplink.list() if document.attempts]
        assert len(knocked) <= POLICY.at_once
        async with receiver.listening(port):
            await until(lambda: all_delivered(store))
    assert sorted(receiver.taken) == sorted(f"{n % 10}/{n:02}" for n in range(50))
    for device in range(10):
        order = [name for name in receiver.taken if name.startswith(f"{device}/")]
        assert order == sorted(order)


async def test_delivery_to_a_slow_receiver_times_out_and_repeats_the_same_document(store):
    queue(store, "a")
    async with Receiver().listening() as receiver:
        receiver.answers.clear()
        async with delivering(store, receiver.url, HASTY):
            await until(lambda: len(receiver.got) >= 2)
            assert "no answer within 0.5 s" in store.uplink.get(1).last_error
            receiver.answers.set()
            await until(lambda: all_delivered(store))
    assert set(receiver.got) == {"a"}


async def test_delivery_whose_acknowledgement_is_lost_comes_again_under_the_same_id(store):
    """Taken, and the connection breaks before the 204 is out."""
    queue(store, "a", "b")
    async with Receiver("lost").listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    assert receiver.taken == ["a", "a", "b"]


async def test_delivery_that_cannot_be_written_down_comes_again_under_the_same_id(store):
    """The disk is full when the 204 comes: the document is not taken for delivered."""
    queue(store, "a", "b")
    refusals = [StoreError("the disk is full")] * 3
    write = store.transaction

    def full(*arguments, **options):
        if refusals:
            raise refusals.pop()
        return write(*arguments, **options)

    store.transaction = full
    async with Receiver().listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    assert receiver.taken == ["a", "a", "a", "a", "b"]


async def test_delivery_of_a_document_that_cannot_be_sent_does_not_end_that_of_others(store, monkeypatch):
    queue(store, "broken")
    queue(store, "a", device=SECOND)
    post, faults = aiohttp.ClientSession.post, [ValueError("no header can hold this")] * 3

    def fails(session, url, *, data, **how):
        if data == b"broken" and faults:
            raise faults.pop()
        return post(session, url, data=data, **how)

    monkeypatch.setattr(aiohttp.ClientSession, "post", fails)
    async with Receiver().listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    assert receiver.got == ["a", "broken"]
    assert store.uplink.get(1).attempts == 4


async def test_delivery_puts_a_damaged_document_aside_and_the_rest_goes_on(store):
    queue(store, "a", "b")
    with sqlite3.connect(store.home / "chf.db") as connection:
        connection.execute("update uplink set document = 7 where msg_id = 'a'")
    connection.close()
    async with Receiver().listening() as receiver, delivering(store, receiver.url):
        await until(lambda: receiver.taken)
    assert receiver.taken == ["b"]
    (alarm,) = [record.event.fields["reason"] for record in store.audit.tail() if record.event.kind is Kind.ALARM]
    assert "document 1 was put aside: row 1 of uplink is unreadable, because document" in alarm


@pytest.mark.parametrize("failing", [(Conversion, "run"), (Delivery, "_due")])
async def test_a_fault_in_one_task_of_the_dcc_side_does_not_end_the_other(store, monkeypatch, failing):
    """And the task itself is tried again: here it fails once."""
    monkeypatch.setattr(background, "FIRST_RETRY_S", 0.01)
    kind, name = failing
    works = getattr(kind, name)

    def fails(*arguments):
        monkeypatch.setattr(kind, name, works)
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(kind, name, fails)
    octets = make_cs09_alert(PPMID, ACB, 1, utc=NOW.utc, firmware_version=2, success=True, key=KEYS(f"{PPMID:016x}-ds"))
    with store.transaction() as tx:
        tx.alerts.add(NewAlert("x", PPMID, "CS09", 0x8F8B, "", octets, False, NOW.utc))
    stop = asyncio.Event()
    async with Receiver().listening() as receiver:
        settings = DccSettings(delivery=POLICY, default_receive_url=receiver.url)
        side = DccSide(store.home, make_pki(store.home), ("127.0.0.1", 0), settings, NOBODY, None)
        running = asyncio.create_task(side.run(stop, lambda _address: None))
        await until(lambda: receiver.taken)
        stop.set()
        await running
    alarms = [record.event.fields["reason"] for record in store.audit.tail() if record.event.kind is Kind.ALARM]
    assert len(alarms) == 1
    assert alarms[0].endswith("failed, and is tried again: a mistake of ours")


async def test_delivery_to_an_address_that_hangs_is_bounded(store):
    """It takes connections and never answers: as many attempts as are allowed at once, then one probes at a time."""
    for number in range(30):
        queue(store, f"{number}", device=Eui64(number))
    async with Receiver().listening() as receiver:
        receiver.answers.clear()
        async with delivering(store, receiver.url, HASTY):
            await until(lambda: store.uplink.get(1).attempts >= 2)
    assert POLICY.at_once <= len(receiver.got) <= POLICY.at_once + 2


@pytest.mark.timeout(300)
async def test_delivery_of_ten_thousand_documents_after_a_long_silence(store):
    """Eight hours without the address, as far as the queue is concerned: all arrive, once, each device's in order."""
    with store.transaction() as tx:
        for number in range(10_000):
            name = f"{number % 10}/{number:05}"
            tx.uplink.add(NewDocument(name, SUPPLIER, Eui64(number % 10), "alert", name.encode(), NOW.utc))
        for seq in range(1, 11):
            tx.uplink.failed(seq, "cannot be reached", UtcSeconds(0.0))
    async with Receiver().listening() as receiver, delivering(store, receiver.url):
        await until(lambda: store.uplink.waiting() == 0, limit_s=240.0)
    assert len(receiver.taken) == len(set(receiver.taken)) == 10_000
    for device in range(10):
        order = [name for name in receiver.taken if name.startswith(f"{device}/")]
        assert order == sorted(order)


async def test_delivery_of_one_device_does_not_wait_for_another(store):
    queue(store, "a", "b", device=PPMID)
    queue(store, "c", device=SECOND)
    policy = replace(POLICY, first_pause_s=30.0, longest_pause_s=60.0)
    async with Receiver(500).listening() as receiver, delivering(store, receiver.url, policy):
        await until(lambda: len(receiver.taken) == 1 and len(receiver.got) == 2)
    assert sorted(receiver.got) == ["a", "c"]


async def test_delivery_goes_on_after_a_restart_with_the_same_documents(store):
    queue(store, "a", "b")
    async with Receiver(*[500] * 1000).listening() as receiver:
        async with delivering(store, receiver.url):
            await until(lambda: len(receiver.got) >= 1)
        receiver.plan.clear()
        async with delivering(store, receiver.url):
            await until(lambda: all_delivered(store))
    assert receiver.taken == ["a", "b"]


async def test_delivery_knows_the_address_of_each_user(store):
    other = Eui64(0x90B3D51F30030000)
    queue(store, "mine")
    queue(store, "theirs", recipient=other)
    queue(store, "nobody's", recipient=STRANGER)
    async with Receiver().listening() as mine, Receiver().listening() as theirs:
        users = {
            SUPPLIER: User(SUPPLIER, frozenset({"IS"}), mine.url),
            other: User(other, frozenset({"IS"}), theirs.url),
        }
        async with delivering(store, None, users=users):
            await until(lambda: mine.taken and theirs.taken)
    assert (mine.taken, theirs.taken) == (["mine"], ["theirs"])
    assert [document.msg_id for document in store.uplink.list(undelivered=True)] == ["nobody's"]


async def test_delivery_tells_the_alert_queue_and_the_audit(store):
    with store.transaction() as tx:
        tx.alerts.add(NewAlert("x/1", PPMID, "CS09", 0x8F8B, "success", b"m", True, NOW.utc))
        tx.uplink.add(NewDocument("x/1", SUPPLIER, PPMID, "PPMIDAlert", b"<a/>", NOW.utc, alert=1))
    async with Receiver(500).listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    alert = store.alerts.get("x/1")
    assert (alert.attempts, alert.delivered is not None) == (1, True)
    assert [record.event.fields["msg_id"] for record in store.audit.tail()] == ["x/1"]


async def test_delivery_is_not_postponed_by_a_clock_that_was_set_back(store):
    queue(store, "a")
    with store.transaction() as tx:
        tx.uplink.failed(1, "x", UtcSeconds(9_000_000_000.0))
    async with Receiver().listening() as receiver, delivering(store, receiver.url):
        await until(lambda: all_delivered(store))
    assert receiver.taken == ["a"]


def test_delivery_pauses_grow_to_a_limit():
    policy = DeliveryPolicy()
    pauses = [policy.pause_s(attempts) for attempts in range(1, 12)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == policy.pause_s(10_000) == 300.0
