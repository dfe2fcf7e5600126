"""Requests to the DCC side over HTTP, under limits and under attack."""

import asyncio
import contextlib
import io
import logging
import sqlite3
import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chf.cli.dcc.serve import tls_context
from chf.cli.main import chf
from chf.clock import SystemClock
from chf.dcc.desk import Desk
from chf.dcc.gateway import Gateway, GatewayLimits, is_loopback
from chf.dcc.intake import IntakePolicy
from chf.duis.document import LARGEST_DOCUMENT_OCTETS
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.store import Store
from tests.support.damaged_store import fill_disk, free_disk
from tests.support.dcc_bench import PPMID, STRANGER, field, image, log_devices, make_pki, update_request
from tests.support.waiting import until

XML = {"Content-Type": "application/xml"}
PATIENCE_S = 20.0


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        log_devices(opened)
        yield opened


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
        ("/api/v1/serviceD", b"<a/>", {"Host": "127.0.0.1:99999"}, 400),
        ("/api/v1/serviceD", b"<a/>", {"Host": "[127.0.0.1"}, 400),
        ("/api/v1/serviceD", b"<a/>", {"Expect": "banana"}, 417),
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
QUICK = GatewayLimits(connections=8, header_timeout_s=0.2, body_pause_s=0.2)


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


async def test_http_connections_beyond_the_limit_go_as_soon_as_they_come(store):
    """Those whose bodies are on their way stay; one that has asked nothing gives way to one that may."""
    limits = GatewayLimits(connections=4, header_timeout_s=0.3, body_pause_s=PATIENCE_S)
    async with gateway(store, limits) as url:
        host, port = url.removeprefix("http://").split(":")
        sending = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for _, writer in sending:
            writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n")
        for reader, _ in sending:
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.gather(*(raw(url, HEAD) for _ in range(20)), return_exceptions=True)
        status, _, _ = await post(url, update_request().to_bytes())
        assert status == 200
        for reader, writer in sending:
            assert not reader.at_eof()
            writer.write(b" " * 99)
            assert b" 400 " in await reader.readuntil(b"\r\n")
            writer.close()


async def test_http_body_that_moves_is_not_cut_by_the_time_of_the_headers(store):
    body = update_request().to_bytes()
    limits = GatewayLimits(connections=1, header_timeout_s=0.05, body_pause_s=PATIENCE_S)
    async with gateway(store, limits) as url:

        async def slowly():
            begun = asyncio.get_running_loop().time()
            yield body[:512]
            await until(lambda: asyncio.get_running_loop().time() > begun + 5 * limits.header_timeout_s)
            yield body[512:]

        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/api/v1/serviceD", data=slowly(), headers=XML) as response,
        ):
            assert response.status == 200


async def test_http_stalled_large_bodies_do_not_keep_others_from_their_turn(store):
    limits = GatewayLimits(large_bodies=2, small_body_octets=1000, body_pause_s=0.3)
    stalled = HEAD + b"Content-Length: 9999\r\n\r\n" + b" " * 2000
    async with gateway(store, limits) as url:
        answers = [asyncio.create_task(raw(url, stalled)) for _ in range(4)]
        status, _, _ = await post(url, update_request(content=image(b"\xee" * 5000)).to_bytes())
        assert status == 200
        assert all(b" 408 " in answer for answer in await asyncio.gather(*answers))


@pytest.mark.parametrize(
    "octets",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"secret" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret",
        b"POST /api/v1/serviceD HTTP/1.1\r\nHost: 127.0.0.1\r\nsecret\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\nsecret",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\nsecret",
    ],
    ids=["HTTP/2", "TLS", "a header without colon", "a length below zero", "chunks without length"],
)
async def test_http_nonsense_is_told_in_a_line_without_what_was_sent(store, octets, caplog):
    caplog.set_level(logging.INFO)
    async with gateway(store, QUICK) as url:
        await raw(url, octets)
        status, _, _ = await post(url, update_request().to_bytes())
    assert status == 200
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if "secret" in line or "\n" in line or len(line) > 300] == []
    assert [record for record in caplog.records if record.exc_info] == []


async def test_http_client_that_goes_away_in_mid_body_is_told_in_a_line(store, caplog):
    caplog.set_level(logging.INFO)
    async with gateway(store) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await until(lambda: "went away" in caplog.text, "the line about it")
    assert [record for record in caplog.records if record.exc_info] == []


# --- beyond this machine


class Certificates:
    """A CA in `directory`, and what it issues for this machine; a new object is a CA that nobody knows."""

    def __init__(self, directory):
        self.directory, self.key = directory, ec.generate_private_key(ec.SECP256R1())
        directory.mkdir()
        self.certificate = self._made("ca", self.key, "ca", ca=True)

    def issue(self, name, days=1):
        return self._made(name, ec.generate_private_key(ec.SECP256R1()), "ca", days=days)

    def _made(self, name, key, issuer, *, days=1, ca=False):
        def named(text):
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        files[1].touch(mode=0o600)
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return files

    def client(self, *own):
        context = ssl.create_default_context(cafile=self.certificate[0])
        if own:
            context.load_cert_chain(*own)
        return context


async def test_http_over_tls_takes_clients_whose_certificate_it_knows(store, tmp_path):
    ours, others = Certificates(tmp_path / "ours"), Certificates(tmp_path / "others")
    context = tls_context(*ours.issue("server"), ours.certificate[0])
    desk = Desk(store, make_pki(store.home))
    async with (
        Gateway(desk, SystemClock()).listening("127.0.0.1", 0, context) as (_, port),
        aiohttp.ClientSession() as s,
    ):

        async def status(*own):
            body = update_request().to_bytes()
            url = f"https://localhost:{port}/api/v1/serviceD"
            async with s.post(url, data=body, headers=XML, ssl=ours.client(*own)) as response:
                return response.status

        for unknown in ((), others.issue("client"), ours.issue("expired", days=-1)):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await status(*unknown)
        assert store.inbox.pending() == ()
        assert await status(*ours.issue("client")) == 200


def test_the_files_of_tls_are_judged_before_anything_listens(tmp_path):
    ours = Certificates(tmp_path / "ours")
    certificate, key = ours.issue("server")
    for given in ((certificate, None, None), (None, key, None), (None, None, certificate)):
        with pytest.raises(UsageError, match="wants both"):
            tls_context(*given)
    with pytest.raises(UsageError, match="no certificate and its key"):
        tls_context(certificate, ours.certificate[1], None)
    with pytest.raises(UsageError, match="holds no certificates"):
        tls_context(certificate, key, key)
    key.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        tls_context(certificate, key, None)


@pytest.mark.parametrize(
    "command", [("dcc", "serve", "--listen", "0.0.0.0:0"), ("run", "--port", "/dev/null", "--dcc", "0.0.0.0:0")]
)
def test_nobody_listens_beyond_this_machine_without_knowing_who_asks(tmp_path, command):
    found = CliRunner().invoke(chf, [*command, "--home", str(tmp_path)])
    assert isinstance(found.exception, UsageError)
    assert "--insecure" in str(found.exception) or "chf dcc serve" in str(found.exception)


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
