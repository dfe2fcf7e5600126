"""Who answers at a port: an EZSP dongle, a Z-Stack dongle, a bootloader, or nobody.

Asked in the order of harm: a ping in TI's MT, which an EZSP dongle takes for noise; the reset by which every EZSP host
begins, which a network outlives (UG101); a line end and TI's synchronisation, which only bootloaders understand; at
last the ping again, behind enough octets to end whatever frame was begun. What a dongle says is then for its own
radio's `probe`.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum

from zigpy.serial import SerialProtocol, create_serial_connection

from chf.errors import RadioGoneError
from chf.radio.link import DongleSettings
from chf.radio.ports import trouble_with
from chf.radio.znp import frames as znp_frames

_OPEN_LIMIT_S = 5.0  # our choice
_CLOSE_LIMIT_S = 2.0  # our choice

_MT_PING = znp_frames.frame(znp_frames.PING, b"")
_MT_REST = bytes((0xEF,)) * 256  # as zigpy-znp has it: a CC253x's bootloader takes it for "run"
"""What ends any frame in whose middle another host died."""
_MT_PONG = znp_frames.PING ^ znp_frames.RESPONSE
_ASH_RESET = b"\x1a\xc0\x38\xbc\x7e"  # a cancel byte, which drops what came before, and the RST frame (UG101 3.2)
_ASH_WAS_RESET = b"\xc1\x02"  # RSTACK, version 2 (UG101 3.3)
_SYNCHRONISATION = b"\x55\x55"  # CC26x2 technical reference manual, 8.2.1
_SYNCHRONISED = b"\x00\xcc"  # the same
_GECKO_MENU = b"ootloader"  # "Gecko Bootloader v1.12.00", "EFR32 Serial Btl": older ones name themselves otherwise


class Answer(Enum):
    EZSP = "ezsp"
    ZNP = "znp"
    GECKO_BOOTLOADER = "Silicon Labs bootloader"
    TI_BOOTLOADER = "TI bootloader"
    SOMETHING_ELSE = "something that is no dongle"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class _Question:
    octets: bytes
    patience_s: float


_QUESTIONS = (
    _Question(_MT_PING, 0.5),
    _Question(_ASH_RESET, 1.5),
    _Question(_ASH_RESET, 1.5),  # the first may have met one that was just starting
    _Question(b"\r\n", 0.5),
    _Question(_SYNCHRONISATION, 0.5),
    _Question(_MT_REST + _MT_PING, 0.5),
)


class _Ear(SerialProtocol):
    """Hears until it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.known: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.heard = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.heard = True
        found = recognised(bytes(self._buffer))
        if found is not None and not self.known.done():
            self.known.set_result(found)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.known.done():
            self.known.set_result(Answer.SOMETHING_ELSE if self.heard else Answer.NOTHING)

    def say(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)


def recognised(heard: bytes) -> Answer | None:
    """Everything that was heard since the port was opened; None where it says nothing yet."""
    buffer = bytearray(heard)
    while (found := znp_frames.take_frame(buffer)) is not None:
        if found[0] in (_MT_PONG, znp_frames.RESET_IND):
            return Answer.ZNP
    if _ASH_WAS_RESET in heard:
        return Answer.EZSP
    if _GECKO_MENU in heard:
        return Answer.GECKO_BOOTLOADER
    return Answer.TI_BOOTLOADER if heard.endswith(_SYNCHRONISED) else None


async def who_answers(settings: DongleSettings) -> Answer:
    """Raises RadioGoneError where the port cannot be opened."""
    try:
        async with asyncio.timeout(_OPEN_LIMIT_S):
            _, ear = await create_serial_connection(
                asyncio.get_running_loop(),
                _Ear,
                url=settings.port,
                baudrate=settings.baudrate,
                flow_control=settings.flow_control,
            )
    except (OSError, ValueError) as error:
        raise RadioGoneError(trouble_with(settings.port, error)) from error
    assert isinstance(ear, _Ear)
    try:
        return await _ask(ear)
    finally:
        try:
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                await ear.disconnect()
        except TimeoutError:
            pass


async def _ask(ear: _Ear) -> Answer:
    for question in _QUESTIONS:
        ear.say(question.octets)
        try:
            async with asyncio.timeout(question.patience_s):
                return await asyncio.shield(ear.known)
        except TimeoutError:
            continue
    return Answer.SOMETHING_ELSE if ear.heard else Answer.NOTHING
