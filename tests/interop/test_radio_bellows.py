"""The installed bellows is one that the radio was written for: its tables, and its faults."""

import asyncio
import gc
import itertools
from types import SimpleNamespace
from unittest.mock import Mock

import bellows.ezsp
import bellows.types as ember
import pytest
from bellows.ash import AshProtocol

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.ezsp import frames
from chf.radio.ezsp.frames import ApsFrame, Dialect
from chf.radio.ezsp.link import FragmentAck, HubEzsp, Unicast, acceptance
from chf.radio.outbox import Acceptance

VERSIONS = [version for version in bellows.ezsp.EZSP._BY_VERSION if version >= frames.OLDEST_VERSION]
APS = ApsFrame(0x0109, 0x0019, 11, 3, 0x0160, 0x1234, 0x77)
EMBER_APS = ember.EmberApsFrame(
    profileId=0x0109,
    clusterId=0x0019,
    sourceEndpoint=11,
    destinationEndpoint=3,
    options=ember.EmberApsOption(0x0160),
    groupId=0x1234,
    sequence=0x77,
)


class Gateway:
    def __init__(self) -> None:
        self.sent = []

    async def send_data(self, octets):
        self.sent.append(octets)


def protocol(version):
    return bellows.ezsp.EZSP._BY_VERSION[version](lambda name, args: None, Gateway())


def body_of(version, name, which, **values):
    """The octets of a command (which 1) or of an answer or callback (which 2), by bellows' table."""
    schema = protocol(version).COMMANDS[name][which]
    assert isinstance(schema, dict), f"{name} of v{version} has another kind of schema"
    assert list(schema) == list(values)
    return b"".join(kind(value).serialize() for kind, value in zip(schema.values(), values.values(), strict=True))


def header(version, name):
    commands = protocol(version).COMMANDS
    return bytes((0, 0, 1)) + commands[name][0].to_bytes(2, "little")


@pytest.mark.parametrize("version", VERSIONS)
def test_frame_ids_are_those_of_bellows(version):
    commands = protocol(version).COMMANDS
    names = ("messageSentHandler", "incomingMessageHandler", "invalidCommand")
    ours = (frames.MESSAGE_SENT_HANDLER, frames.INCOMING_MESSAGE_HANDLER, frames.INVALID_COMMAND)
    assert tuple(commands[name][0] for name in names) == ours


def sent(version):
    """What a connection of this version hands to its gateway when it sends this, and what it is answered."""
    ezsp = HubEzsp({"path": "tcp://127.0.0.1:1"}, None, 64)
    ezsp._switch_protocol_version(version)
    ezsp.start_ezsp()
    gateway = ezsp._protocol._gw = Gateway()

    async def answer(octets):
        gateway.sent.append(octets)
        body = ember.sl_Status.OK.serialize() if version >= 14 else bytes(1)
        asyncio.get_running_loop().call_soon(ezsp.frame_received, octets[:1] + b"\x80" + octets[2:5] + body + b"\x2a")

    gateway.send_data = answer
    return ezsp, gateway


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_unicast_leaves_as_bellows_packs_it_and_its_answer_is_told(version):
    ezsp, gateway = sent(version)
    told = []
    commands = [Unicast(0x1001, APS, 0x42, b"block", lambda *answer: told.append(answer)), FragmentAck(0x1001, APS)]
    messages = SimpleNamespace(next_command=lambda: commands.pop(0) if commands else None)
    ezsp.attach(messages)
    ezsp.wake()
    serving = asyncio.ensure_future(ezsp.serve())
    while len(gateway.sent) < 2:  # noqa: ASYNC110 a gateway tells nobody
        await asyncio.sleep(0)
    serving.cancel()
    assert told == [(Acceptance.TAKEN, 0x2A)]
    names = ("message_type", "nwk", "aps_frame", "message_tag", "message")
    if version < 14:
        names = ("type", "indexOrDestination", "apsFrame", "messageTag", "messageContents")
    values = dict(zip(names, (0, 0x1001, EMBER_APS, 0x42, b"block"), strict=True))
    assert gateway.sent[0][5:] == body_of(version, "sendUnicast", 1, **values)
    assert gateway.sent[1][5:] == body_of(
        version, "sendReply", 1, sender=0x1001, apsFrame=EMBER_APS, messageContents=b""
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_an_incoming_message_is_read_as_bellows_has_it(version):
    eui64, _ = ember.EUI64.deserialize((0xA1B2).to_bytes(8, "little"))
    if version < 14:
        values = {"type": 0, "apsFrame": EMBER_APS, "lastHopLqi": 201, "lastHopRssi": -55, "sender": 0x1001}
        values |= {"bindingIndex": 0xFF, "addressIndex": 0xFF, "messageContents": b"request"}
    else:
        values = {"message_type": 0, "aps_frame": EMBER_APS, "nwk": 0x1001, "eui64": eui64, "binding_index": 0xFF}
        values |= {"address_index": 0xFF, "lqi": 201, "rssi": -55, "timestamp": 0xDEADBEEF, "message": b"request"}
    frame = header(version, "incomingMessageHandler") + body_of(version, "incomingMessageHandler", 2, **values)
    message = Dialect(version).incoming(frame)
    assert message is not None
    assert (message.unicast, message.aps, message.sender, message.payload) == (True, APS, 0x1001, b"request")
    assert (message.lqi, message.rssi) == (201, -55)
    assert message.eui64 == (Eui64(0xA1B2) if version >= 14 else None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("delivered", [True, False])
def test_a_fate_is_read_as_bellows_has_it(version, delivered):
    if version < 14:
        status = ember.EmberStatus.SUCCESS if delivered else ember.EmberStatus.DELIVERY_FAILED
        values = {"type": 0, "indexOrDestination": 0x1001, "apsFrame": EMBER_APS, "messageTag": 0x42}
        values |= {"status": status, "messageContents": b""}
    else:
        status = ember.sl_Status.OK if delivered else ember.sl_Status.ZIGBEE_DELIVERY_FAILED
        values = {"status": status, "message_type": 0, "nwk": 0x1001, "aps_frame": EMBER_APS}
        values |= {"message_tag": 0x42, "message": b""}
    frame = header(version, "messageSentHandler") + body_of(version, "messageSentHandler", 2, **values)
    assert Dialect(version).message_sent(frame) == frames.MessageSent(0x1001, 0x42, delivered)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, Acceptance.FULL) for name in ("MAX_MESSAGE_LIMIT_REACHED", "NO_BUFFERS", "NETWORK_BUSY")),
        ("MESSAGE_TOO_LONG", Acceptance.REFUSED),
        ("SUCCESS", Acceptance.TAKEN),
    ],
)
def test_every_word_of_the_older_firmware_for_no_room_is_understood(name, expected):
    assert acceptance(ember.sl_Status.from_ember_status(ember.EmberStatus[name])) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, Acceptance.FULL)
            for name in ("ZIGBEE_MAX_MESSAGE_LIMIT_REACHED", "ALLOCATION_FAILED", "BUSY", "NO_MORE_RESOURCE")
        ),
        ("MESSAGE_TOO_LONG", Acceptance.REFUSED),
        ("OK", Acceptance.TAKEN),
    ],
)
def test_every_word_of_the_newer_firmware_for_no_room_is_understood(name, expected):
    assert acceptance(ember.sl_Status[name]) is expected


async def test_each_attempt_to_start_begins_with_a_reset(monkeypatch):
    """bellows 1.2.1 goes on in the wrong framing when the first attempt fails after `version`."""
    steps: list[str] = []
    ezsp = HubEzsp({"path": "tcp://127.0.0.1:1"}, None, 64)
    failures = itertools.chain([True], itertools.repeat(False))

    async def reset() -> None:
        steps.append("reset")

    async def version() -> None:
        steps.append("version")

    async def features() -> None:
        steps.append("features")
        if next(failures):
            raise TimeoutError

    monkeypatch.setattr(HubEzsp, "ezsp_version", 13)
    monkeypatch.setattr(ezsp, "reset", reset)
    monkeypatch.setattr(ezsp, "version", version)
    monkeypatch.setattr(ezsp, "get_xncp_features", features)
    await ezsp.startup_reset()
    assert steps == ["reset", "version", "features"] * 2


async def test_a_dongle_of_old_firmware_is_refused(monkeypatch):
    ezsp = HubEzsp({"path": "tcp://127.0.0.1:1"}, None, 64)

    async def nothing() -> None: ...

    monkeypatch.setattr(HubEzsp, "ezsp_version", 7)
    for step in ("reset", "version", "get_xncp_features"):
        monkeypatch.setattr(ezsp, step, nothing)
    with pytest.raises(RadioRefusedError, match="v7"):
        await ezsp.startup_reset()


@pytest.mark.parametrize("ends", ["disconnected", "lost"])
async def test_a_frame_whose_sender_was_cancelled_fails_unheard(ends):
    """bellows shields what it sends; on the terminal of a hub that ends, its complaint would be a traceback."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    line = AshProtocol(Mock())
    line.connection_made(Mock(**{"is_closing.return_value": False}))
    sender = asyncio.create_task(line.send_data(b"frame"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    ezsp = HubEzsp({"path": "tcp://127.0.0.1:1", "baudrate": 115_200, "flow_control": None}, Mock(), 0)
    if ends == "disconnected":
        await ezsp.disconnect()
    else:
        ezsp.connection_lost(ConnectionResetError("unplugged"))
    line.connection_lost(ConnectionResetError("unplugged"))
    for _ in range(4):
        await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
