"""The list of attacks, tried by a device that is written by hand, on the whole hub over a dongle of either kind.

Nothing of `devices.nodes` is in the attacker, and no certificate and no install code of this repository: the CA, the
codes and the keys are made for the test. What each attack must come to is in the test's name; docs/security.md has the
table.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from chf.clock import SystemClock
from chf.crypto.credentials_text import format_credentials
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import Certificate, CertificateAuthority, Credentials, Suite
from chf.crypto.install_code import link_key, with_crc
from chf.eui64 import Eui64, format_eui64
from chf.hub import Hub, HubSettings
from chf.hub.settings import SecurityMode, SecuritySettings
from chf.image.image import parse_image
from chf.pki.gbcs import Pki, seeded_keys
from chf.pki.zigbee import ZigbeePki
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.znp import ZnpRadio, ZnpSettings
from chf.store import DeviceEntry, DeviceType, Store
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.trace import Event, Kind
from chf.zcl.frame import Status
from devices.wire.key_establishment import CLUSTER, Command, Initiate, TerminateStatus
from devices.wire.mac import MacType
from devices.wire.zcl import ZclFrame
from tests.support.attacking_device import Attacker
from tests.support.programs import image_file
from tests.support.virtual_dongle import local_dongle, ppmid

pytestmark = pytest.mark.timeout(120)

DONGLE = Eui64(0x00DB_5EC0_0000_0001)
VICTIM = Eui64(0x00DB_5EC0_0000_00A1)
MALLORY = Eui64(0x00DB_5EC0_0000_00EE)
OTA, TIME, TUNNELING, BASIC = 0x0019, 0x000A, 0x0704, 0x0000
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
READ_TIME = bytes.fromhex("00 02 00 0000")
TRANSFER_DATA = bytes.fromhex("01 03 02 0000") + b"\xdd hello"
CBKE = HubSettings(security=SecuritySettings(SecurityMode.CBKE))
RADIOS = {"ezsp": lambda port: EzspRadio(EzspSettings(port)), "znp": lambda port: ZnpRadio(ZnpSettings(port))}
RANDOM = Random(20_261_127)
CODES = {who: with_crc(RANDOM.randbytes(length)) for who, length in ((VICTIM, 16), (MALLORY, 12))}


def number() -> int:
    return RANDOM.getrandbits(512) | 1 << 511


AUTHORITIES = {suite: CertificateAuthority.generate(suite, 0x5EC0_CA00, number()) for suite in Suite}


def credentials(subject: Eui64, suite: Suite = Suite.ONE, **how: int) -> Credentials:
    return AUTHORITIES[suite].issue(subject, number(), number(), **how)


class Scene:
    """The hub on its dongle, the emulated victim, and Mallory."""

    def __init__(self, bench, store: Store, told: list[Event]) -> None:
        self.bench, self.store, self.told = bench, store, told
        self.mallory = Attacker(bench, MALLORY, link_key(CODES[MALLORY]))

    def log(self, device: Eui64, code: bytes) -> None:
        with self.store.transaction() as tx:
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, link_key(code)))

    async def command(self, verb: Verb, **body: object) -> CommandState:
        with self.store.transaction() as tx:
            number_ = tx.inbox.submit(verb, body, 0.0)
        await self.until(lambda: self.store.inbox.get(number_).state is not CommandState.PENDING)
        return self.store.inbox.get(number_).state

    async def permit(self, device: Eui64) -> None:
        assert await self.command(Verb.DEVICE_PERMIT, device=format_eui64(device), seconds=120) is CommandState.DONE

    async def invite_victim(self):
        """It is in the log, and looks for a network."""
        self.log(VICTIM, CODES[VICTIM])
        await self.permit(VICTIM)
        victim = self.bench.world.devices[VICTIM]
        victim.power_on()
        self.bench.runner.pump()
        return victim

    async def let_victim_in(self):
        """And was served: whatever was said to the hub before has been heard, and answered where it ever will be."""
        victim = await self.invite_victim()
        await self.until(lambda: self.version(VICTIM) is not None)
        return victim

    async def let_in(self) -> Attacker:
        """Mallory is in the log like anybody, joins with the install code, and has no link key of its own yet."""
        self.log(MALLORY, CODES[MALLORY])
        await self.permit(MALLORY)
        await self.mallory.join()
        await self.until(lambda: self.entry().status.value == "joined")
        return self.mallory

    def entry(self, device: Eui64 = MALLORY) -> DeviceEntry:
        return self.store.devices.get(device)

    def version(self, device: Eui64 = MALLORY) -> int | None:
        """That it told of its one image."""
        return next((image.file_version for image in self.entry(device).images), None)

    async def until(self, condition) -> None:
        await self.mallory.until(condition, f"the hub; it told {self.told[-5:]}")

    def refusals(self) -> set[str]:
        return {str(event.fields["reason"]) for event in self.told if event.kind is Kind.FRAME_REFUSED}

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.told if event.device == MALLORY]

    # Key establishment by hand

    async def terminated(self, command: Command, payload: bytes, **how: bytes) -> int:
        """The status of the Terminate that answers."""
        heard = await self.mallory.ask(CLUSTER, ZclFrame(7, command, payload).to_bytes(), **how)
        answer = ZclFrame.from_bytes(heard.payload)
        assert answer.command == Command.TERMINATE, answer
        return answer.payload[0]

    async def initiate(self, own: Credentials) -> Certificate:
        """The hub's certificate."""
        payload = Initiate(own.suite.value, 5, 5, own.certificate.octets).to_bytes()
        heard = await self.mallory.ask(CLUSTER, ZclFrame(1, Command.INITIATE, payload).to_bytes())
        answer = ZclFrame.from_bytes(heard.payload)
        assert answer.command == Command.INITIATE, answer
        return Certificate.from_bytes(own.suite, Initiate.from_bytes(answer.payload).certificate)

    async def exchange(self, own: Credentials):
        """Up to the device's MAC, which is the caller's to send."""
        hub = await self.initiate(own)
        ours = Ephemeral.from_scalar(own.suite.curve, number() % own.suite.curve.order)
        heard = await self.mallory.ask(CLUSTER, ZclFrame(2, Command.EPHEMERAL_DATA, ours.public_key).to_bytes())
        answer = ZclFrame.from_bytes(heard.payload)
        assert answer.command == Command.EPHEMERAL_DATA, answer
        return agree(own, ours, hub, answer.payload, initiator=True)

    async def establish(self, own: Credentials | None = None) -> bytes:
        """As an honest device does it."""
        agreement = await self.exchange(own or credentials(MALLORY))
        heard = await self.mallory.ask(CLUSTER, ZclFrame(3, Command.CONFIRM_KEY_DATA, agreement.mac_u).to_bytes())
        answer = ZclFrame.from_bytes(heard.payload)
        assert (answer.command, answer.payload) == (Command.CONFIRM_KEY_DATA, agreement.mac_v)
        assert self.entry().link_key == agreement.link_key
        self.mallory.keys.append(agreement.link_key)
        keys = self.bench.world.dongle.keys  # in the store first, then in the dongle
        await self.until(lambda: (held := keys.for_data(MALLORY)) and held.key == agreement.link_key)
        return agreement.link_key


@asynccontextmanager
async def hub_on(bench, store: Store, kind: str, told: list[Event]) -> AsyncIterator[Hub]:
    up = asyncio.Event()
    pki = Pki.open(store.home / "pki")
    hub = Hub(store, RADIOS[kind](bench.port.url), pki, SystemClock(), CBKE, told.append)
    running = asyncio.ensure_future(hub.run(form=True, ready=lambda _info: up.set()))
    try:
        waiting = asyncio.ensure_future(up.wait())
        await asyncio.wait({running, waiting}, timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert up.is_set(), running
        yield hub
    finally:
        running.cancel()
        await asyncio.wait({running})


@asynccontextmanager
async def desk(tmp_path: Path, kind: str) -> AsyncIterator[Scene]:
    """The world and the store, without a hub."""
    home = tmp_path / "home"
    with Store.open(home, hub=True) as store:
        Pki.create(home / "pki", chf=DONGLE, keys=seeded_keys(b"attacks"))
        pki = ZigbeePki(home / "pki" / "zigbee")
        for suite in Suite:
            pki.add(format_credentials(credentials(DONGLE, suite)))
        victim = tmp_path / "victim.txt"
        victim.write_text(format_credentials(credentials(VICTIM, Suite.TWO)))
        scenario = f'[ncp]\neui64 = "{DONGLE:016X}"\n' + ppmid(
            f"{VICTIM:016X}", install_code=CODES[VICTIM].hex(), credentials=str(victim), power_on_s=86400.0,
            query_delay_s=0.1, think_time_s=0.01,
        )  # fmt: skip
        async with local_dongle(tmp_path, scenario, ncp=kind) as bench:
            yield Scene(bench, store, [])


@pytest.fixture(params=RADIOS)
async def scene(tmp_path, request) -> AsyncIterator[Scene]:
    async with desk(tmp_path, request.param) as scene, hub_on(scene.bench, scene.store, request.param, scene.told):
        yield scene


def refused_in_the_clear(heard) -> None:
    """A Default Response that says FAILURE, and nothing else."""
    assert heard.key is None
    answer = ZclFrame.from_bytes(heard.payload)
    assert (answer.command, answer.payload[1]) == (0x0B, Status.FAILURE)


async def test_an_honest_device_written_by_hand_gets_its_key_and_is_served(scene):
    """The control: what is refused below is refused for what is wrong with it."""
    mallory = await scene.let_in()
    key = await scene.establish()
    heard = await mallory.ask(TIME, READ_TIME, under=key)
    assert heard.key == key
    heard = await mallory.ask(OTA, QUERY, under=key)
    assert (heard.key, heard.payload[2], heard.payload[3]) == (key, 2, 0x98)  # no image for it
    await scene.until(lambda: scene.version() == 1)


async def test_a_device_that_is_not_in_the_log_does_not_join(scene):
    task = asyncio.ensure_future(scene.mallory.join())
    await scene.let_victim_in()
    assert scene.mallory.network_key is None
    task.cancel()
    await asyncio.wait({task})
    assert scene.entry() is None


async def test_a_device_with_the_wrong_install_code_does_not_join(scene):
    scene.log(MALLORY, with_crc(bytes(16)))
    await scene.permit(MALLORY)
    await scene.mallory.join(expect_key=False)
    assert scene.mallory.network_key is None
    assert Kind.DEVICE_JOINED not in scene.kinds()


async def test_before_its_key_a_device_gets_nothing_under_its_install_codes_key(scene):
    mallory = await scene.let_in()
    for cluster, payload in ((OTA, QUERY), (TIME, READ_TIME), (TUNNELING, TRANSFER_DATA)):
        for key in (mallory.joining_key, None):
            refused_in_the_clear(await mallory.ask(cluster, payload, under=key))
    await scene.until(lambda: scene.entry().refused_frames >= 3)
    assert scene.version() is None
    assert scene.store.alerts.list(device=MALLORY) == ()
    assert "before key establishment" in scene.refusals()


async def test_an_ota_query_under_the_network_key_alone_is_refused_after_the_key_too(scene):
    mallory = await scene.let_in()
    await scene.establish()
    refused_in_the_clear(await mallory.ask(OTA, QUERY))
    assert scene.version() is None
    assert "without APS link-key security" in scene.refusals()


async def test_a_frame_under_the_wrong_link_key_never_reaches_the_hub(scene):
    mallory = await scene.let_in()
    key = await scene.establish()
    before = len(mallory.told)
    for wrong in (mallory.joining_key, bytes(16)):
        mallory.say(OTA, QUERY, under=wrong)
    await mallory.ask(TIME, READ_TIME, under=key)  # is answered, and came behind them
    assert mallory.heard_of(OTA, before) == []
    assert scene.version() is None


async def test_a_certificate_of_another_issuer_is_turned_away(scene):
    await scene.let_in()
    other = CertificateAuthority.generate(Suite.ONE, 0xBAD, number()).issue(MALLORY, number(), number())
    payload = Initiate(1, 5, 5, other.certificate.octets).to_bytes()
    assert await scene.terminated(Command.INITIATE, payload) == TerminateStatus.UNKNOWN_ISSUER
    assert scene.entry().link_key is None


async def test_a_certificate_that_a_false_authority_made_under_the_name_of_ours_is_found_out(scene):
    await scene.let_in()
    false = CertificateAuthority.generate(Suite.ONE, AUTHORITIES[Suite.ONE].identity, number())
    own = replace(false.issue(MALLORY, number(), number()), ca_public_key=AUTHORITIES[Suite.ONE].public_key)
    agreement = await scene.exchange(own)
    status = await scene.terminated(Command.CONFIRM_KEY_DATA, agreement.mac_u)
    assert status == TerminateStatus.BAD_KEY_CONFIRM
    assert scene.entry().link_key is None


async def test_a_certificate_with_another_eui64_is_a_bad_message(scene):
    await scene.let_in()
    payload = Initiate(1, 5, 5, credentials(VICTIM).certificate.octets).to_bytes()
    assert await scene.terminated(Command.INITIATE, payload) == TerminateStatus.BAD_MESSAGE


async def test_an_expired_certificate_is_invalid(scene):
    await scene.let_in()
    expired = credentials(MALLORY, Suite.TWO, valid_from=1_500_000_000, valid_seconds=86_400)
    before = len(scene.mallory.told)
    payload = Initiate(2, 5, 5, expired.certificate.octets).to_bytes()
    await scene.mallory.say_in_blocks(CLUSTER, ZclFrame(1, Command.INITIATE, payload).to_bytes())
    answer = ZclFrame.from_bytes((await scene.mallory.answer(CLUSTER, before)).payload)
    assert (answer.command, answer.payload[0]) == (Command.TERMINATE, TerminateStatus.INVALID_CERTIFICATE)


async def test_a_certificate_whose_point_is_malformed_is_invalid(scene):
    await scene.let_in()
    octets = credentials(MALLORY).certificate.octets
    for point in (b"\4" + octets[1:22], b"\2" + bytes(21), b"\2" + b"\xff" * 21):
        payload = Initiate(1, 5, 5, point + octets[22:]).to_bytes()
        heard = await scene.mallory.ask(CLUSTER, ZclFrame(1, Command.INITIATE, payload).to_bytes())
        if ZclFrame.from_bytes(heard.payload).command == Command.INITIATE:  # it is looked at when it is computed with
            ours = Ephemeral.from_scalar(Suite.ONE.curve, number() % Suite.ONE.curve.order)
            status = await scene.terminated(Command.EPHEMERAL_DATA, ours.public_key)
        else:
            status = ZclFrame.from_bytes(heard.payload).payload[0]
        assert status in {TerminateStatus.INVALID_CERTIFICATE, TerminateStatus.NO_RESOURCES}
    assert scene.entry().link_key is None


@pytest.mark.parametrize(
    "octets",
    [bytes(22), b"\0" + bytes(21), b"\2" + bytes(21), b"\2" + (5).to_bytes(21, "big"), b"\4" + b"\1" * 21, b"\2\1"],
    ids=["zero", "infinity", "order two", "off the curve", "not compressed", "cut"],
)
async def test_an_ephemeral_key_that_is_no_proper_point_is_a_bad_message(scene, octets):
    await scene.let_in()
    await scene.initiate(credentials(MALLORY))
    assert await scene.terminated(Command.EPHEMERAL_DATA, octets) == TerminateStatus.BAD_MESSAGE
    assert scene.entry().link_key is None


async def test_a_wrong_mac_brings_no_key(scene):
    await scene.let_in()
    agreement = await scene.exchange(credentials(MALLORY))
    wrong = bytes((agreement.mac_u[0] ^ 1,)) + agreement.mac_u[1:]
    assert await scene.terminated(Command.CONFIRM_KEY_DATA, wrong) == TerminateStatus.BAD_KEY_CONFIRM
    # and the right one comes too late
    assert await scene.terminated(Command.CONFIRM_KEY_DATA, agreement.mac_u) == TerminateStatus.BAD_MESSAGE
    assert scene.entry().link_key is None


async def test_a_suite_that_does_not_fit_is_turned_away(scene):
    await scene.let_in()
    certificate = credentials(MALLORY).certificate.octets
    for suite, status in (
        (3, TerminateStatus.UNSUPPORTED_SUITE),
        (4, TerminateStatus.UNSUPPORTED_SUITE),
        (0, TerminateStatus.UNSUPPORTED_SUITE),
        (2, TerminateStatus.BAD_MESSAGE),  # a certificate of suite 1
    ):
        payload = Initiate(suite, 5, 5, certificate).to_bytes()
        assert await scene.terminated(Command.INITIATE, payload) == status


async def test_key_establishment_under_the_old_key_is_refused(scene):
    mallory = await scene.let_in()
    own = credentials(MALLORY)
    frame = ZclFrame(1, Command.INITIATE, Initiate(1, 5, 5, own.certificate.octets).to_bytes()).to_bytes()
    refused_in_the_clear(await mallory.ask(CLUSTER, frame, under=mallory.joining_key))
    key = await scene.establish(own)
    refused_in_the_clear(await mallory.ask(CLUSTER, frame, under=key))
    assert scene.entry().link_key == key
    assert "under a link key, where there is to be none" in scene.refusals()


async def test_a_terminate_of_a_third_party_ends_nobodys_exchange(scene):
    """Mallory speaks under its own name while the victim's exchange is under way, again and again."""
    mallory = await scene.let_in()
    await scene.invite_victim()
    terminate = ZclFrame(9, Command.TERMINATE, bytes((TerminateStatus.NO_RESOURCES, 255, 2, 0))).to_bytes()

    def established() -> bool:
        mallory.say(CLUSTER, terminate)
        return scene.entry(VICTIM).link_key is not None

    await scene.until(established)
    assert [event.device for event in scene.told if event.kind is Kind.KEY_FAILED] == []


async def test_replaying_a_whole_recorded_exchange_brings_no_key(scene):
    """Frame by frame as they were on the air, and then the same words in fresh frames."""
    mallory = await scene.let_in()
    start = len(mallory.sent)
    own = credentials(MALLORY)
    agreement = await scene.exchange(own)
    confirm = ZclFrame(3, Command.CONFIRM_KEY_DATA, agreement.mac_u).to_bytes()
    await mallory.ask(CLUSTER, confirm)
    key = scene.entry().link_key
    assert key == agreement.link_key
    mallory.keys.append(key)
    recorded = [octets for octets in mallory.sent[start:] if octets[0] & 7 == MacType.DATA]
    counters = scene.bench.world.dongle.stack.counters
    before, replays, heard = scene.kinds().count(Kind.KEY_ESTABLISHED), counters.nwk_replays, len(mallory.told)
    for octets in recorded:
        mallory.transmit(octets)
    await scene.until(lambda: counters.nwk_replays >= replays + len(recorded))
    await mallory.ask(TIME, READ_TIME, under=key)
    assert mallory.heard_of(CLUSTER, heard) == []
    await scene.initiate(own)
    ours = Ephemeral.from_scalar(Suite.ONE.curve, 7)  # any: the hub draws another one, so the old MAC is not right
    await mallory.ask(CLUSTER, ZclFrame(2, Command.EPHEMERAL_DATA, ours.public_key).to_bytes())
    assert await scene.terminated(Command.CONFIRM_KEY_DATA, agreement.mac_u) == TerminateStatus.BAD_KEY_CONFIRM
    assert scene.entry().link_key == key
    assert scene.kinds().count(Kind.KEY_ESTABLISHED) == before == 1


async def downloading(scene, tmp_path: Path) -> tuple[bytes, int]:
    """Mallory is honest for once, and in the middle of its download: its key, and the number of the update."""
    mallory = await scene.let_in()
    key = await scene.establish()
    await mallory.ask(OTA, QUERY, under=key)
    await scene.until(lambda: scene.version() == 1)
    image = image_file(tmp_path / "new.ota", size_bytes=2000)
    return key, await started(scene, MALLORY, image)


async def started(scene, device: Eui64, path: Path) -> int:
    image = parse_image(path.read_bytes())  # noqa: ASYNC240
    with scene.store.transaction() as tx:
        tx.images.add(record_of(image, "new", 0.0), image.content)
    body = {"devices": [format_eui64(device)], "image": image.sha256, "activation": {"kind": "now"}}
    assert await scene.command(Verb.UPDATE_START, **body) is CommandState.DONE
    return int(scene.store.updates.list()[-1].id)


def block_request(offset: int) -> bytes:
    return bytes.fromhex("01 09 03 00 d410 0100 02000000") + offset.to_bytes(4, "little") + b"\x28"


async def test_a_device_that_is_forgotten_in_mid_download_gets_nothing_more(scene, tmp_path):
    key, update = await downloading(scene, tmp_path)
    mallory = scene.mallory
    await mallory.ask(OTA, QUERY, under=key)
    heard = await mallory.ask(OTA, block_request(0), under=key)
    assert heard.payload[3] == Status.SUCCESS
    assert await scene.command(Verb.DEVICE_FORGET, device=format_eui64(MALLORY)) is CommandState.REFUSED
    assert await scene.command(Verb.UPDATE_CANCEL, update=update) is CommandState.DONE
    assert await scene.command(Verb.DEVICE_FORGET, device=format_eui64(MALLORY)) is CommandState.DONE
    before = len(mallory.told)
    for secured in (key, mallory.joining_key, None):
        for cluster, payload in ((OTA, block_request(40)), (TIME, READ_TIME), (BASIC, READ_TIME)):
            mallory.say(cluster, payload, under=secured)
    own = credentials(MALLORY)
    mallory.say(CLUSTER, ZclFrame(1, Command.INITIATE, Initiate(1, 5, 5, own.certificate.octets).to_bytes()).to_bytes())
    await scene.let_victim_in()
    assert [heard for heard in mallory.told[before:] if heard.cluster in {OTA, TIME, BASIC, CLUSTER}] == []
    assert scene.entry() is None
    assert "not in the device log" in scene.refusals() or mallory.told[before:] == []


async def test_a_block_request_within_anothers_session_gets_no_block(scene, tmp_path):
    """By name, under Mallory's own key; and in the victim's name, which the dongle does not believe."""
    mallory = await scene.let_in()
    key = await scene.establish()
    victim = await scene.let_victim_in()
    image = image_file(tmp_path / "new.ota", size_bytes=8000)
    content = image.read_bytes()
    await started(scene, VICTIM, image)
    offset, refused, before = 0, 0, len(mallory.told)
    while scene.store.updates.list()[0].state.value in {"accepted", "stored", "announced", "downloading"}:
        heard = await mallory.ask(OTA, block_request(offset), under=key)
        assert heard.payload[2] != 5 or heard.payload[3] != Status.SUCCESS  # neither a block, nor a wait for one
        mallory.say(OTA, block_request(offset), under=key, as_address=victim.stack.address)
        offset, refused = (offset + 40) % 8000, refused + 1
    assert refused > 3
    assert not any(content[200:232] in heard.payload for heard in mallory.told[before:])
    assert scene.store.updates.list()[0].device == VICTIM
    await scene.until(lambda: scene.store.updates.list()[0].state.value == "activated")
