"""The installed bellows is the one that the hot path was written for: its tables, its inside, its faults."""

import itertools
from types import SimpleNamespace

import bellows.ezsp
import bellows.types as ember
import pytest

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.ezsp import frames
from chf.radio.ezsp.frames import Acceptance, ApsFrame, Dialect
from chf.radio.ezsp.link import HotEzsp, refuse_unknown_bellows

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


@pytest.mark.parametrize("version", VERSIONS)
def test_frame_ids_are_those_of_bellows(version):
    commands = protocol(version).COMMANDS
    assert {
        name: commands[name][0]
        for name in (
            "nop",
            "sendUnicast",
            "sendReply",
            "messageSentHandler",
            "incomingMessageHandler",
            "invalidCommand",
        )
    } == {
        "nop": frames.NOP,
        "sendUnicast": frames.SEND_UNICAST,
        "sendReply": frames.SEND_REPLY,
        "messageSentHandler": frames.MESSAGE_SENT_HANDLER,
        "incomingMessageHandler": frames.INCOMING_MESSAGE_HANDLER,
        "invalidCommand": frames.INVALID_COMMAND,
    }
    assert protocol(version)._ezsp_frame_tx("sendUnicast") == frames.header(0, frames.SEND_UNICAST)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_unicast_is_packed_as_bellows_packs_it(version):
    names = ("message_type", "nwk", "aps_frame", "message_tag", "message")
    if version < 14:
        names = ("type", "indexOrDestination", "apsFrame", "messageTag", "messageContents")
    values = dict(zip(names, (0, 0x1001, EMBER_APS, 0x42, b"block"), strict=True))
    assert Dialect(version).send_unicast(0x1001, APS, 0x42, b"block") == body_of(version, "sendUnicast", 1, **values)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reply_is_packed_as_bellows_packs_it(version):
    expected = body_of(version, "sendReply", 1, sender=0x1001, apsFrame=EMBER_APS, messageContents=b"")
    assert frames.send_reply(0x1001, APS) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_an_incoming_message_is_read_as_bellows_has_it(version):
    eui64, _ = ember.EUI64.deserialize((0xA1B2).to_bytes(8, "little"))
    if version < 14:
        values = {
            "type": 0,
            "apsFrame": EMBER_APS,
            "lastHopLqi": 201,
            "lastHopRssi": -55,
            "sender": 0x1001,
            "bindingIndex": 0xFF,
            "addressIndex": 0xFF,
            "messageContents": b"request",
        }
    else:
        values = {
            "message_type": 0,
            "aps_frame": EMBER_APS,
            "nwk": 0x1001,
            "eui64": eui64,
            "binding_index": 0xFF,
            "address_index": 0xFF,
            "lqi": 201,
            "rssi": -55,
            "timestamp": 0xDEADBEEF,
            "message": b"request",
        }
    frame = frames.header(0, frames.INCOMING_MESSAGE_HANDLER) + body_of(version, "incomingMessageHandler", 2, **values)
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
        values = {
            "type": 0,
            "indexOrDestination": 0x1001,
            "apsFrame": EMBER_APS,
            "messageTag": 0x42,
            "status": status,
            "messageContents": b"",
        }
    else:
        status = ember.sl_Status.OK if delivered else ember.sl_Status.ZIGBEE_DELIVERY_FAILED
        values = {
            "status": status,
            "message_type": 0,
            "nwk": 0x1001,
            "aps_frame": EMBER_APS,
            "message_tag": 0x42,
            "message": b"",
        }
    frame = frames.header(0, frames.MESSAGE_SENT_HANDLER) + body_of(version, "messageSentHandler", 2, **values)
    assert Dialect(version).message_sent(frame) == frames.MessageSent(0x1001, 0x42, delivered)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_word_for_no_room_is_understood(version):
    dialect = Dialect(version)
    kind = ember.sl_Status if version >= 14 else ember.EmberStatus
    full = (
        ("ZIGBEE_MAX_MESSAGE_LIMIT_REACHED", "ALLOCATION_FAILED", "BUSY", "NO_MORE_RESOURCE")
        if version >= 14
        else ("MAX_MESSAGE_LIMIT_REACHED", "NO_BUFFERS", "NETWORK_BUSY")
    )
    for name in full:
        assert dialect.acceptance(kind[name].serialize() + b"\x00") == (Acceptance.FULL, 0)
    assert dialect.acceptance(kind["MESSAGE_TOO_LONG"].serialize() + b"\x00") == (Acceptance.REFUSED, 0)
    assert dialect.acceptance(kind(0).serialize() + b"\x2a") == (Acceptance.TAKEN, 0x2A)
    assert dialect.acceptance(b"") == (Acceptance.REFUSED, 0)


async def test_the_inside_of_bellows_is_as_the_link_expects():
    """Fails loudly when a new bellows moves what `ezsp_link` reaches for."""
    ezsp = HotEzsp({"path": "tcp://127.0.0.1:1"}, None)
    for version in VERSIONS:
        ezsp._switch_protocol_version(version)
        refuse_unknown_bellows(ezsp)
        assert ezsp.nop.func == ezsp._command
        assert isinstance(ezsp._protocol._awaiting, dict)
        assert isinstance(ezsp._protocol._seq, int)
        async with ezsp._protocol._send_semaphore(priority=-1):
            assert ezsp._protocol._send_semaphore.locked()


async def test_another_inside_is_refused_with_the_reason():
    ezsp = HotEzsp({"path": "tcp://127.0.0.1:1"}, None)
    ezsp._protocol = SimpleNamespace(_seq=0, _awaiting={})
    with pytest.raises(RadioRefusedError, match="_send_semaphore"):
        refuse_unknown_bellows(ezsp)


async def test_each_attempt_to_start_begins_with_a_reset(monkeypatch):
    """bellows 1.2.1 goes on in the wrong framing when the first attempt fails after `version`."""
    steps: list[str] = []
    ezsp = HotEzsp({"path": "tcp://127.0.0.1:1"}, None)
    failures = itertools.chain([True], itertools.repeat(False))

    async def reset() -> None:
        steps.append("reset")
        ezsp._switch_protocol_version(13)

    async def version() -> None:
        steps.append("version")

    async def features() -> None:
        steps.append("features")
        if next(failures):
            raise TimeoutError

    monkeypatch.setattr(ezsp, "reset", reset)
    monkeypatch.setattr(ezsp, "version", version)
    monkeypatch.setattr(ezsp, "get_xncp_features", features)
    await ezsp.startup_reset()
    assert steps == ["reset", "version", "features"] * 2


async def test_a_dongle_of_old_firmware_is_refused(monkeypatch):
    ezsp = HotEzsp({"path": "tcp://127.0.0.1:1"}, None)

    async def nothing() -> None:
        ezsp._switch_protocol_version(7)

    for step in ("reset", "version", "get_xncp_features"):
        monkeypatch.setattr(ezsp, step, nothing)
    with pytest.raises(RadioRefusedError, match="v7"):
        await ezsp.startup_reset()
