"""Which class of OTA client a device is, as far as its own frames tell: traits in, a verdict with its reasons out.

What the air shows is evidence and no proof: a device's maker may set block sizes as he likes, and two stacks may ask
alike. So a class that was recognised is *likely* at best, and the hub then takes the more careful of each of its limits
and an unknown client's. Only who knows the device can say more: a class that was set by hand is *certain*, and its own
limits hold (docs/adr/0016-recognised-is-not-certain.md). One trait that a class cannot have rules that class out.

Every class is taken to be as common as any other, and as common as a stack that is not among them. What the sources do
not tell of a class speaks weakly for it. Not looked at are how often a device queries (an Image Notify makes it query
as well) and frames that come twice (radios do that).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import prod
from struct import Struct
from typing import Any, Final

from chf.clock import Instant
from chf.errors import MalformedFrameError
from chf.update.clients import CLASSES, UNKNOWN, ClientClass
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, FrameType, Status

_FIRST_BLOCKS: Final = 4  # looked at in each download; the first may be short where one resumes (our choice)
_EARLY_ASKS: Final = 3  # within their WAIT_FOR_DATA, until a client is taken to ignore it (our choice)
_SHORTEST_WAIT_S: Final = 5  # a shorter wait ends before it can be told from an impatient client (our choice)
_FAR_BYTES: Final = 4096  # Telink's client starts over where it had less (measured), and no frame comes so late
_NOT_TOLD: Final = 0.25  # the weight of a trait that a class may have or not (our choice)
_NODE, _PERIOD = 0b01, 0b10  # field control of an Image Block Request, ZCL8 11.13.6

_REQUEST = Struct("<BBBBHHIIB")  # ZCL header and Image Block Request, ZCL8 2.4.1 and 11.13.6
assert _REQUEST.size == 17
_IMAGE: Final = slice(4, 12)  # of manufacturer code, image type and file version in it
_OFFSET: Final = slice(12, 16)  # of the file offset in it
_FIRST_OFFSET: Final = bytes(4)
_WAIT = Struct("<BBBBII")  # ZCL header and Image Block Response with WAIT_FOR_DATA, ZCL8 11.13.8
_BLOCK_REQUEST = zcl.ImageBlockRequest.COMMAND
_CLUSTER_TO_SERVER: Final = 0b0001  # frame type, manufacturer specific, direction, ZCL8 2.4.1.1
_KIND: Final = 0b1111  # of these three, ZCL8 2.4.1.1


class Confidence(StrEnum):
    UNKNOWN = "unknown"
    LIKELY = "likely"  # more likely than everything else together
    CERTAIN = "certain"  # somebody said so


@dataclass(frozen=True, slots=True)
class Traits:
    """What the air has shown of a client; None is what it has not shown yet."""

    manufacturer_code: int | None = None  # in its Query Next Image
    block_bytes: int | None = None  # the most that it asked for in one Image Block Request, outside of pages
    field_control: int | None = None  # of its Image Block Requests
    page_block_bytes: int | None = None  # of what size it wants the blocks of a page
    retry_s: int | None = None  # after this it asked for a block again that it had been sent; the shortest seen
    keeps_offset: bool | None = None  # after a restart in a download: went on, or began at 0
    starts_over: bool | None = None  # began at 0 in a download, with neither a restart nor a query
    heeds_wait: bool | None = None  # asked again after its wait, or three times within it
    changes: bool | None = None  # what its block requests carry is not always the same: no class does that

    def to_json(self) -> dict[str, int | bool]:
        """What was seen."""
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: value for name, value in values if value is not None}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Traits":
        """Raises TypeError or ValueError for what `to_json` does not write."""
        for name, value in record.items():
            if type(value) is not (bool if name in _YES_OR_NO else int) or value < 0:
                raise ValueError(f"{name} is {value!r}")
        return cls(**record)


NOTHING_SHOWN: Final = Traits()
_YES_OR_NO: Final = frozenset({"keeps_offset", "starts_over", "heeds_wait", "changes"})


@dataclass(frozen=True, slots=True)
class Shows:
    """The traits of a class. None is what no source tells, or what its users choose."""

    manufacturer_codes: frozenset[int] = frozenset()
    """Of the chip maker: a device that bears one was built from his examples. Most devices bear their own maker's."""
    block_bytes: frozenset[int] | None = None
    field_control: frozenset[int] | None = None
    page_block_bytes: frozenset[int] | None = None
    retry_s: int | None = None
    """It never asks for a block again before."""
    keeps_offset: bool | None = None
    starts_over: bool | None = False
    heeds_wait: bool | None = True
    source: str = ""


# Manufacturer codes: zigbee-herdsman's list (zspec/zcl/definition/manufacturerCode), which is the CSA's by way of
# Silicon Labs' SDK.
SHOWS: Final[Mapping[str, Shows]] = {
    "silicon-labs": Shows(
        frozenset({0x1002, 0x1049}),
        block_bytes=frozenset({63, 64}),
        field_control=frozenset({0, _PERIOD}),
        page_block_bytes=frozenset({32}),
        retry_s=3,
        keeps_offset=True,
        source="63 octets alone: Ember's client, espressif/arduino-esp32 #12469; 64 and a period:"
        " Koenkk/zigbee-herdsman #1846, zigpy #1781; 3 s, and pages in blocks of 32: Ember's client",
    ),
    "telink": Shows(
        frozenset({0x1141}),
        block_bytes=frozenset({48}),
        field_control=frozenset({_PERIOD}),
        page_block_bytes=frozenset(),
        retry_s=5,
        keeps_offset=True,
        source="measured on the vendor's client code; it goes on from its last checkpoint",
    ),
    "ti": Shows(
        frozenset({0x0007, 0x1001}),
        block_bytes=frozenset({32}),
        field_control=frozenset({0, _PERIOD}),
        page_block_bytes=frozenset(),
        retry_s=5,
        keeps_offset=False,
        source="Z-Stack 3.0, zcl_ota: the example sends the period, a user may leave it out",
    ),
    "nxp": Shows(
        frozenset({0x1004, 0x1037}),
        block_bytes=frozenset({48}),
        field_control=frozenset({0, _PERIOD}),
        page_block_bytes=frozenset({48}),
        retry_s=5,
        keeps_offset=True,
        source="JN-SW-4170, OTA_ClientUpgradeManager: period and pages are chosen at build time",
    ),
    "st": Shows(
        frozenset({0x1041, 0x10D7}),
        keeps_offset=False,
        source="STM32WB, zcl.ota: sizes and times are the application's, the offset is in RAM",
    ),
    "microchip": Shows(
        frozenset({0x1014}),
        keeps_offset=True,
        heeds_wait=False,
        source="WBZ451, zclOtauClient: it asks again after the period, at once where that is 0",
    ),
    "nordic": Shows(
        frozenset({0x127F}),
        block_bytes=frozenset({40}),
        field_control=frozenset({_NODE | _PERIOD}),
        page_block_bytes=frozenset(),
        retry_s=45,
        keeps_offset=False,
        source="ZBOSS, zcl_ota_upgrade_commands: address and period, 45 s; 40 octets were seen",
    ),
    "esp-v1": Shows(
        frozenset({0x131B}),
        block_bytes=frozenset({64, 223}),
        field_control=frozenset({_NODE | _PERIOD}),
        page_block_bytes=frozenset(),
        keeps_offset=False,
        starts_over=None,
        source="ZBOSS as nordic; esp-zigbee-sdk #162 (64 octets), #892 (223)",
    ),
    "esp-v2": Shows(
        frozenset({0x131B}),
        block_bytes=frozenset({48, 223}),
        page_block_bytes=frozenset(),
        retry_s=5,
        starts_over=None,
        source="esp-zigbee-sdk 2, documentation and #860: 48 octets by default, 223 advised; #833: begins anew after"
        " one lost block",
    ),
}
"""By the names of `CLASSES`."""

_NONE_OF_THEM: Final = Shows(starts_over=None, heeds_wait=None)
_CHIP_MAKERS: Final = frozenset[int]().union(*(shows.manufacturer_codes for shows in SHOWS.values()))


@dataclass(frozen=True, slots=True)
class Recognition:
    """The class, how sure it is, and what led to it, in words."""

    client: ClientClass
    confidence: Confidence
    reasons: tuple[str, ...]

    @property
    def limits(self) -> ClientClass:
        """What the hub goes by."""
        return self.client if self.confidence is Confidence.CERTAIN else self.client.within(UNKNOWN)


def recognise(traits: Traits, set_class: str | None = None) -> Recognition:
    """`set_class` is a name of `CLASSES` where somebody has set one; then the traits are shown, and decide nothing."""
    seen = _sentences(traits)
    if set_class is not None:
        return Recognition(CLASSES[set_class], Confidence.CERTAIN, ("set by hand", *seen))
    if not seen:
        return Recognition(UNKNOWN, Confidence.UNKNOWN, ("it has shown nothing yet",))
    fits = {name: fit for name, shows in SHOWS.items() if (fit := prod(_weights(shows, traits))) > 0}
    if not fits:
        return Recognition(UNKNOWN, Confidence.UNKNOWN, (*seen, "no class shows all of this"))
    best = max(fits, key=lambda name: fits[name])
    if fits[best] > sum(fits.values()) - fits[best] + prod(_weights(_NONE_OF_THEM, traits)):
        return Recognition(CLASSES[best], Confidence.LIKELY, seen)
    return Recognition(UNKNOWN, Confidence.UNKNOWN, (*seen, f"it may be one of {', '.join(fits)}, or of none"))


def _weights(shows: Shows, traits: Traits) -> list[float]:
    """Of each trait that was seen, how well it goes with the class: 0 to 1."""
    weights = []
    if traits.manufacturer_code in _CHIP_MAKERS:  # any other says who made the device, and not with what
        known = shows is not _NONE_OF_THEM
        weights.append(float(traits.manufacturer_code in shows.manufacturer_codes) if known else _NOT_TOLD)
    for value, possible in (
        (traits.block_bytes, shows.block_bytes),
        (traits.field_control, shows.field_control),
        (traits.page_block_bytes, shows.page_block_bytes),
    ):
        if value is not None:
            weights.append(_NOT_TOLD if possible is None else (value in possible) / max(len(possible), 1))
    if traits.retry_s is not None and shows.retry_s is not None and traits.retry_s < shows.retry_s:
        weights.append(0.0)  # it cannot be that quick. Slow it may be: requests are lost, too
    if traits.keeps_offset is not None:
        weights.append(_NOT_TOLD if shows.keeps_offset is None else float(traits.keeps_offset is shows.keeps_offset))
    if traits.starts_over is not None:
        weights.append(_NOT_TOLD if shows.starts_over is None else float(shows.starts_over))
    if traits.heeds_wait is False:  # that it does is nothing special
        weights.append(_NOT_TOLD if shows.heeds_wait is None else float(not shows.heeds_wait))
    elif traits.heeds_wait and shows.heeds_wait is False:
        weights.append(0.0)
    if traits.changes:
        weights.append(0.0)
    return weights


def _sentences(traits: Traits) -> tuple[str, ...]:
    texts = []
    if traits.manufacturer_code is not None:
        texts.append(f"its manufacturer code is 0x{traits.manufacturer_code:04X}")
    if traits.block_bytes is not None:
        texts.append(f"it asks for blocks of {traits.block_bytes} octets")
    if traits.field_control is not None:
        carried = {0: "nothing", _NODE: "its address", _PERIOD: "MinimumBlockPeriod"}
        more = carried.get(traits.field_control, "its address and MinimumBlockPeriod")
        texts.append(f"its block requests carry {more} besides")
    if traits.page_block_bytes is not None:
        texts.append(f"it asks for pages, in blocks of {traits.page_block_bytes} octets")
    if traits.retry_s is not None:
        texts.append(f"it asked for a block again after {traits.retry_s} s")
    for shown, yes, no in (
        (traits.keeps_offset, "after a restart it went on where it was", "after a restart it began at the first octet"),
        (traits.starts_over, "it began anew in the middle of a download", ""),
        (traits.heeds_wait, "it waits as long as it is told", "it asks again at once when it is told to wait"),
        (traits.changes, "what its block requests carry is not always the same", ""),
    ):
        if shown is not None:
            texts.append(yes if shown else no)
    return tuple(texts)


class Watch:
    """Listens to the OTA client of one device. The traits are those of before, with what this process heard.

    Of a download it looks at the first blocks, and then at what is out of the ordinary alone: the same offset again,
    and the first offset again. Everything else costs the block path a few comparisons.
    """

    __slots__ = (
        "_answer",
        "_asked_at",
        "_early",
        "_octets",
        "_offset",
        "_queried",
        "_restarted",
        "_to_look_at",
        "traits",
    )

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self._to_look_at = _FIRST_BLOCKS
        self._octets = b""  # the last block request,
        self._offset = b""  # its offset, empty where there is no download to compare with,
        self._asked_at = Instant(0.0)  # its time
        self._answer: bytes | None = None  # and what it was answered
        self._early = 0
        self._restarted = self._queried = False

    def arrived(self) -> None:
        """The device came back onto the network: it may have restarted. Its next query may have come before."""
        self._restarted = True
        self._to_look_at = max(self._to_look_at, 1)

    def hear(self, octets: bytes, answer: bytes | None, instant: Instant) -> bool:
        """One ZCL frame of the OTA cluster, and the frame that it was answered with. True where the traits changed."""
        before = self.traits
        if len(octets) < _REQUEST.size or octets[2] != _BLOCK_REQUEST or octets[0] & _KIND != _CLUSTER_TO_SERVER:
            self._hear_other(octets)
            return self.traits != before
        offset = octets[_OFFSET]
        if self._to_look_at or offset in (self._offset, _FIRST_OFFSET):
            self._hear_block(octets, instant)
        self._octets, self._offset, self._asked_at, self._answer = octets, offset, instant, answer
        return self.traits is not before and self.traits != before

    def _hear_block(self, octets: bytes, instant: Instant) -> None:
        *_, control, _, _, _, offset, maximum = _REQUEST.unpack_from(octets)
        if self._offset and octets[_IMAGE] == self._octets[_IMAGE]:
            last = int.from_bytes(self._offset, "little")
            if self._restarted:
                self._after_restart(last, offset)
            elif offset == last:
                self._asked_again(instant - self._asked_at)
            elif offset == 0 and last > _FAR_BYTES and not self._queried:
                self.traits = replace(self.traits, starts_over=True)
        self._restarted = self._queried = False
        if self._to_look_at:
            self._to_look_at -= 1
            if self.traits.page_block_bytes is None and maximum:
                self._hear_form(maximum, control & (_NODE | _PERIOD))

    def _hear_form(self, maximum: int, control: int) -> None:
        largest = max(maximum, self.traits.block_bytes or 0)
        if self.traits.field_control not in (None, control):
            self.traits = replace(self.traits, changes=True)
        self.traits = replace(self.traits, block_bytes=largest, field_control=control)

    def _after_restart(self, last: int, offset: int) -> None:
        """Without a query it was perhaps no restart, but a change of parents."""
        if self._queried and offset:
            self.traits = replace(self.traits, keeps_offset=True)
        elif self._queried and last > _FAR_BYTES:
            self.traits = replace(self.traits, keeps_offset=False)

    def _asked_again(self, after_s: float) -> None:
        told = None if self._answer is None else _wait_s(self._answer)
        if told is None:
            shortest = min(round(after_s), self.traits.retry_s or round(after_s))
            if shortest:  # sooner than half a second: the frame came twice
                self.traits = replace(self.traits, retry_s=shortest)
        elif told >= _SHORTEST_WAIT_S:
            self._early = self._early + 1 if after_s < told / 2 else 0
            if self._early >= _EARLY_ASKS:
                self.traits = replace(self.traits, heeds_wait=False)
            elif after_s >= told - 1 and self.traits.heeds_wait is None:
                self.traits = replace(self.traits, heeds_wait=True)

    def _hear_other(self, octets: bytes) -> None:
        try:
            frame = Frame.from_bytes(octets)
            if frame.frame_type is not FrameType.CLUSTER or frame.to_client or frame.manufacturer_code is not None:
                return
            request = zcl.parse_request(frame)
        except MalformedFrameError:
            return
        match request:
            case zcl.QueryNextImageRequest(manufacturer_code=code):
                self.traits = replace(self.traits, manufacturer_code=code)
                self._to_look_at, self._queried = _FIRST_BLOCKS, True
            case zcl.ImagePageRequest(maximum_bytes=size):
                self.traits = replace(self.traits, page_block_bytes=size, block_bytes=None, field_control=None)
                self._offset = b""
            case zcl.UpgradeEndRequest():
                self._offset = b""


def _wait_s(answer: bytes) -> int | None:
    """What a WAIT_FOR_DATA said, in seconds; None for any other answer."""
    if len(answer) < _WAIT.size or answer[2] != zcl.WaitForData.COMMAND or answer[3] != Status.WAIT_FOR_DATA:
        return None
    *_, current, request = _WAIT.unpack_from(answer)
    return int(request - current)


NOTHING_KNOWN: Final = recognise(NOTHING_SHOWN)
