"""The commands of the OTA Upgrade cluster 0x0019 (ZCL8 11.13), written from the side of its client."""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from devices.wire.errors import MalformedFrameError
from devices.wire.fields import unpack
from devices.wire.zcl import Status

CLUSTER = 0x0019  # ZCL8 11.4

ANY_MANUFACTURER = 0xFFFF  # ZCL8 11.13.3, Image Notify
ANY_IMAGE_TYPE = 0xFFFF  # ZCL8 11.13.3, Image Notify
ANY_VERSION = 0xFFFF_FFFF  # ZCL8 11.13.3, Image Notify
WAIT_FOREVER = 0xFFFF_FFFF  # as upgrade time: until another command, ZCL8 table 11-15


class Command(IntEnum):
    IMAGE_NOTIFY = 0x00
    QUERY_NEXT_IMAGE_REQUEST = 0x01
    QUERY_NEXT_IMAGE_RESPONSE = 0x02
    IMAGE_BLOCK_REQUEST = 0x03
    IMAGE_PAGE_REQUEST = 0x04
    IMAGE_BLOCK_RESPONSE = 0x05
    UPGRADE_END_REQUEST = 0x06
    UPGRADE_END_RESPONSE = 0x07


class AttributeId(IntEnum):
    """Attributes of the client, ZCL8 11.10."""

    UPGRADE_SERVER_ID = 0x0000
    FILE_OFFSET = 0x0001
    CURRENT_FILE_VERSION = 0x0002
    CURRENT_ZIGBEE_STACK_VERSION = 0x0003
    DOWNLOADED_FILE_VERSION = 0x0004
    DOWNLOADED_ZIGBEE_STACK_VERSION = 0x0005
    IMAGE_UPGRADE_STATUS = 0x0006
    MANUFACTURER_ID = 0x0007
    IMAGE_TYPE_ID = 0x0008
    MINIMUM_BLOCK_PERIOD = 0x0009
    IMAGE_STAMP = 0x000A
    UPGRADE_ACTIVATION_POLICY = 0x000B
    UPGRADE_TIMEOUT_POLICY = 0x000C


class ImageUpgradeStatus(IntEnum):
    """ZCL8 table 11-9."""

    NORMAL = 0
    DOWNLOAD_IN_PROGRESS = 1
    DOWNLOAD_COMPLETE = 2
    WAITING_TO_UPGRADE = 3
    COUNT_DOWN = 4
    WAIT_FOR_MORE = 5
    WAITING_TO_UPGRADE_VIA_EXTERNAL_EVENT = 6


# ZCL8 11.13. An image is its manufacturer, image type and file version.
_QUERY = Struct("<BHHI")  # field control, image
_OFFER = Struct("<BHHII")  # status, image, size
_BLOCK_REQUEST = Struct("<BHHIIB")  # field control, image, offset, maximum size
_PAGE_REQUEST = Struct("<BHHIIBHH")  # the same, page size, response spacing
_BLOCK = Struct("<BHHIIB")  # status, image, offset, size of the data
_WAIT = Struct("<BII")  # status, current time, request time
_END_REQUEST = Struct("<BHHI")  # status, image
_END_RESPONSE = Struct("<HHIII")  # image, current time, upgrade time
_U16 = Struct("<H")  # hardware version, minimum block period
_U64 = Struct("<Q")  # the EUI-64 of who asks
BLOCK_HEADER_BYTES = _BLOCK.size  # of an Image Block Response, before its data


class ImageId(NamedTuple):
    manufacturer: int
    image_type: int
    file_version: int


@dataclass(frozen=True, slots=True)
class ImageNotify:
    """Fields that the payload type leaves out are None (ZCL8 11.13.3)."""

    jitter: int
    manufacturer: int | None = None
    image_type: int | None = None
    file_version: int | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        payload_type, jitter = unpack(Struct("<BB"), payload, "Image Notify")
        if payload_type > 3:
            raise MalformedFrameError("Image Notify", f"payload type {payload_type} is reserved", 0)
        fields = unpack(Struct(("<", "<H", "<HH", "<HHI")[payload_type]), payload, "Image Notify", 2)
        if not 1 <= jitter <= 100:
            raise MalformedFrameError("Image Notify", f"query jitter {jitter} is not 1..100", 1)
        return cls(jitter, *fields)

    def to_bytes(self) -> bytes:
        fields = b""
        payload_type = 0
        for value, octets in ((self.manufacturer, 2), (self.image_type, 2), (self.file_version, 4)):
            if value is None:
                break
            payload_type += 1
            fields += value.to_bytes(octets, "little")
        return bytes((payload_type, self.jitter)) + fields


@dataclass(frozen=True, slots=True)
class QueryNextImageRequest:
    image: ImageId
    hardware_version: int | None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        control, *ids = unpack(_QUERY, payload, "Query Next Image Request")
        if not control & 0x01:
            return cls(ImageId(*ids), None)
        return cls(ImageId(*ids), *unpack(_U16, payload, "Query Next Image Request", _QUERY.size))

    def to_bytes(self) -> bytes:
        if self.hardware_version is None:
            return _QUERY.pack(0, *self.image)
        return _QUERY.pack(1, *self.image) + _U16.pack(self.hardware_version)


@dataclass(frozen=True, slots=True)
class QueryNextImageResponse:
    """`image` and `size_bytes` only with SUCCESS; servers that send them with another status are tolerated."""

    status: int
    image: ImageId | None = None
    size_bytes: int = 0

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        if not payload:
            raise MalformedFrameError("Query Next Image Response", "empty", 0)
        if payload[0] != Status.SUCCESS:
            return cls(payload[0])
        status, *ids, size = unpack(_OFFER, payload, "Query Next Image Response")
        return cls(status, ImageId(*ids), size)

    def to_bytes(self) -> bytes:
        if self.image is None:
            return bytes((self.status,))
        return _OFFER.pack(self.status, *self.image, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ImageBlockRequest:
    image: ImageId
    offset: int
    maximum_bytes: int
    minimum_period: int | None = None
    period_flagged: bool = True  # some clients append the period without saying so in the field control
    node: int | None = None  # who asks: its EUI-64

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        control, *ids, offset, maximum = unpack(_BLOCK_REQUEST, payload, "Image Block Request")
        at = _BLOCK_REQUEST.size
        node = None
        if control & 0x01:
            (node,) = unpack(_U64, payload[at:], "Image Block Request")
            at += _U64.size
        period = _U16.unpack_from(payload, at)[0] if len(payload) >= at + 2 else None
        if control & 0x02 and period is None:
            raise MalformedFrameError("Image Block Request", "no minimum block period", len(payload))
        return cls(ImageId(*ids), offset, maximum, period, bool(control & 0x02) or period is None, node)

    def to_bytes(self) -> bytes:
        control = 0x02 if self.minimum_period is not None and self.period_flagged else 0
        node = b"" if self.node is None else _U64.pack(self.node)
        octets = _BLOCK_REQUEST.pack(control | bool(node), *self.image, self.offset, self.maximum_bytes) + node
        return octets if self.minimum_period is None else octets + _U16.pack(self.minimum_period)


@dataclass(frozen=True, slots=True)
class ImagePageRequest:
    image: ImageId
    offset: int
    maximum_bytes: int
    page_bytes: int
    spacing_ms: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        _, manufacturer, image_type, version, *rest = unpack(_PAGE_REQUEST, payload, "Image Page Request")
        return cls(ImageId(manufacturer, image_type, version), *rest)

    def to_bytes(self) -> bytes:
        return _PAGE_REQUEST.pack(0, *self.image, self.offset, self.maximum_bytes, self.page_bytes, self.spacing_ms)


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """Image Block Response with SUCCESS."""

    image: ImageId
    offset: int
    data: bytes

    def to_bytes(self) -> bytes:
        return _BLOCK.pack(Status.SUCCESS, *self.image, self.offset, len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class WaitForData:
    """Image Block Response with WAIT_FOR_DATA; the period is absent in the form before HA 1.2."""

    current_time: int
    request_time: int
    minimum_period: int | None = None

    def to_bytes(self) -> bytes:
        octets = _WAIT.pack(Status.WAIT_FOR_DATA, self.current_time, self.request_time)
        return octets if self.minimum_period is None else octets + _U16.pack(self.minimum_period)


@dataclass(frozen=True, slots=True)
class BlockRefused:
    """Image Block Response with ABORT, NO_IMAGE_AVAILABLE or a status that does not belong there."""

    status: int

    def to_bytes(self) -> bytes:
        return bytes((self.status,))


ImageBlockResponse = ImageBlock | WaitForData | BlockRefused


def parse_image_block_response(payload: bytes) -> ImageBlockResponse:
    if not payload:
        raise MalformedFrameError("Image Block Response", "empty", 0)
    match payload[0]:
        case Status.SUCCESS:
            if len(payload) < _BLOCK.size:
                raise MalformedFrameError("Image Block Response", "truncated", len(payload))
            _, *ids, offset, length = _BLOCK.unpack_from(payload)
            data = payload[_BLOCK.size : _BLOCK.size + length]
            if len(data) != length:
                raise MalformedFrameError("Image Block Response", "data shorter than its length", len(payload))
            return ImageBlock(ImageId(*ids), offset, data)
        case Status.WAIT_FOR_DATA:
            _, current, request = unpack(_WAIT, payload, "Image Block Response")
            period = _U16.unpack_from(payload, _WAIT.size)[0] if len(payload) >= _WAIT.size + 2 else None
            return WaitForData(current, request, period)
        case status:
            return BlockRefused(status)


@dataclass(frozen=True, slots=True)
class UpgradeEndRequest:
    status: int
    image: ImageId

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        status, *ids = unpack(_END_REQUEST, payload, "Upgrade End Request")
        return cls(status, ImageId(*ids))

    def to_bytes(self) -> bytes:
        return _END_REQUEST.pack(self.status, *self.image)


@dataclass(frozen=True, slots=True)
class UpgradeEndResponse:
    image: ImageId  # each field may be its wildcard
    current_time: int
    upgrade_time: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        *ids, current, upgrade = unpack(_END_RESPONSE, payload, "Upgrade End Response")
        return cls(ImageId(*ids), current, upgrade)

    def to_bytes(self) -> bytes:
        return _END_RESPONSE.pack(*self.image, self.current_time, self.upgrade_time)

    def names(self, image: ImageId) -> bool:
        """Whether this answer is about `image`, wildcards counted in."""
        wildcards = (ANY_MANUFACTURER, ANY_IMAGE_TYPE, ANY_VERSION)
        return all(said in meant for said, meant in zip(self.image, zip(image, wildcards, strict=True), strict=True))
