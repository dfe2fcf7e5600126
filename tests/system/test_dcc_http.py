"""The DCC side over HTTP: requests in, under limits, and documents out to receivers that are down, slow or difficult."""

import asyncio
import contextlib
import io
import sqlite3
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from chf import background
from chf.clock import SystemClock, UtcSeconds
from chf.dcc.conversion import Conversion
from chf.dcc.delivery import Delivery
from chf.dcc.desk import Desk
from chf.dcc.gateway import Gateway, GatewayLimits, is_loopback
from chf.dcc.intake import IntakePolicy
from chf.dcc.settings import DccSettings, DeliveryPolicy, User
from chf.dcc.side import DccSide
from chf.dcc.signers import NOBODY
from chf.duis.document import LARGEST_DOCUMENT_OCTETS
from chf.errors import StoreError
from chf.eui64 import Eui64
from chf.gbcs import make_cs09_alert
from chf.store import NewAlert, Store
from chf.store.uplink import NewDocument
from chf.trace import Kind
from tests.support.damaged_store import fill_disk, free_disk
from tests.support.dcc_bench import (
    ACB,
    KEYS,
    NOW,
    PPMID,
    SECOND,
    STRANGER,
    SUPPLIER,
    field,
    image,
    log_devices,
    make_pki,
    update_request,
)
from tests.support.waiting import until

XML = {"Content-Type": "application/xml"}
PATIENCE_S = 20.0


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        log_devices(opened)
        yield opened


# --- requests in


@contextlib.asynccontextmanager
async def gateway(store, limits=None, intake=None):
    desk = Desk(store, make_pki(store.home), intake=intake or IntakePolicy())
    async with Gateway(desk, SystemClock(), limits).listening("127.0.0.1", 0) as (host, port):
        yield f"http://{host}:{port}"


async def post(url, body, path="/api/v1/serviceD", **headers):
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=io.BytesIO(body), headers={**XML, **headers}) as response,
    ):
        return response.status, response.headers, await response.read()


async def test_http_takes_an_update_and_answers_in_the_reply(store):
    async with gateway(store) as url:
        status, headers, body = await post(url, update_request().to_bytes())
    assert (status, headers["Content-Type"]) == (200, "application/xml; charset=utf-8")
    assert field(body, "ResponseCode") == "I99"
    assert "Chf-Reason" in headers  # unsigned: noted
    assert len(store.inbox.pending()) == 1


async def test_http_says_in_a_header_why_a_request_was_refused(store):
    async with gateway(store) as url:
        _, headers, body = await post(url, update_request(STRANGER).to_bytes())
    assert field(body, "ResponseCode") == "E110402"
    assert "not in the device log" in headers["Chf-Reason"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/api/v1/serviceD", b"<a/>", {}, 400),
        ("/api/v1/serviceD", b"", {}, 400),
        ("/api/v1/serviceD", b"<a/>", {"Content-Type": "text/plain"}, 415),
        ("/api/v1/serviceD", b"<a/>", {"Content-Encoding": "gzip"}, 415),
        ("/api/v1/serviceX", b"<a/>", {}, 404),
        ("/", b"<a/>", {}, 404),
        ("/api/v1/serviceT", b"<a>" + b" " * (300 << 10) + b"</a>", {}, 413),
        ("/api/v1/serviceD", b"<a/>", {"Origin": "http://127.0.0.1"}, 403),
        ("/api/v1/serviceD", b"<a/>", {"Host": "attacker.example"}, 403),
    ],
)
async def test_http_refuses_what_is_no_request(store, path, body, headers, status):
    async with gateway(store) as url:
        found, answer_headers, _ = await post(url, body, path, **headers)
    assert (found, answer_headers["Connection"]) == (status, "close")
    assert store.inbox.pending() == ()


async def test_http_get_is_not_a_request(store):
    async with (
        gateway(store) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/v1/serviceD") as response,
    ):
        assert response.status == 405


async def raw(url, octets: bytes) -> bytes:
    """Send octets as they are; what comes back until the other side closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(octets)
    async with asyncio.timeout(PATIENCE_S):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    writer.close()
    return answer


HEAD = b"POST /api/v1/serviceD HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/xml\r\n"
QUICK = GatewayLimits(connections=8, header_timeout_s=0.2, body_timeout_s=0.2)


async def test_http_length_beyond_the_limit_is_refused_before_a_byte_is_read(store):
    async with gateway(store) as url:
        answer = await raw(url, HEAD + b"Content-Length: %d\r\n\r\n" % (LARGEST_DOCUMENT_OCTETS + 1))
    assert b" 413 " in answer.split(b"\r\n", 1)[0]


async def test_http_endless_body_is_stopped_at_the_limit(store):
    async def endless():
        while True:
            yield b" " * (1 << 20)

    async with gateway(store) as url, aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{url}/api/v1/serviceD", data=endless(), headers=XML) as response:
                assert response.status == 413
        except aiohttp.ClientConnectionError:
            pass  # it may still be writing when the answer and the end come


@pytest.mark.parametrize("octets", [b"", b"POST /api", HEAD, HEAD + b"Content-Length: 99\r\n\r\nhalf"])
async def test_http_slow_client_is_dropped(store, octets):
    async with gateway(store, QUICK) as url:
        answer = await raw(url, octets)
        assert answer == b"" or b" 408 " in answer.split(b"\r\n", 1)[0]
        status, _, _ = await post(url, update_request().to_bytes())
    assert status == 200


async def test_http_many_idle_connections_do_not_keep_others_out_for_long(store):
    async with gateway(store, QUICK) as url:
        idle = [asyncio.create_task(raw(url, b"")) for _ in range(40)]
        await asyncio.gather(*idle)
        status, _, _ = await post(url, update_request().to_bytes())
    assert status == 200


async def test_http_full_disk_is_not_the_senders_fault(store):
    async with gateway(store) as url:
        large = update_request(content=image(b"\xee" * 700_000)).to_bytes()
        fill_disk(store)
        status, _, body = await post(url, large)
        assert (status, b"full" in body) == (503, True)
        free_disk(store)
        status, _, body = await post(url, large)
    assert (status, field(body, "ResponseCode")) == (200, "I99")


def write_until(home, done) -> float:
    """Write from another connection, as the hub does, for as long as it takes; the longest wait in seconds."""
    connection = sqlite3.connect(home / "chf.db", timeout=5.0, isolation_level=None)
    clock, worst = SystemClock(), 0.0
    while not done():
        before = clock.now().instant
        connection.execute("begin immediate")
        connection.execute("commit")
        worst = max(worst, clock.now().instant - before)
    connection.close()
    return worst


async def test_http_largest_request_passes_while_the_hub_can_write(store):
    """10 MB and 50,000 devices; the hub's own connection writes all the time and never waits its 0.25 s out."""
    devices = [PPMID, *(Eui64(0x00DB_0000_0000_0000 + number) for number in range(49_999))]
    document = update_request(*devices, content=image(b"\xee" * 10_000_000)).to_bytes()
    policy = IntakePolicy(image_limit_bytes=10_240_000)
    async with gateway(store, intake=policy) as url:
        task = asyncio.create_task(post(url, document))
        worst = await asyncio.to_thread(write_until, store.home, task.done)
        status, _, body = await task
    assert (status, field(body, "ResponseCode")) == (200, "W110401")
    assert worst < 5.0  # it got in; how soon is measured in docs/dcc.md


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST.")),
        *((host, False) for host in ("::", "192.0.2.1", "localhost.example", "127.0.0.1.example", "", "2130706433")),
    ],
)
def test_http_loopback_is_told_from_names_that_look_like_it(host, loopback):
    assert is_loopback(host) is loopback


# --- documents out


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
