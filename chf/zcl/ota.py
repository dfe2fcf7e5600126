"""The commands of the OTA Upgrade cluster (0x0019), both directions, ZCL8 11.13.

Frames only: what is answered, and when, is decided in `chf.update`. `from_bytes` and `to_bytes` are of the command's
payload, after the ZCL header. Octets behind a complete command are ignored, as ZCL8 2.4.1 wants of a receiver that may
be older than the sender. Numbers stay plain where a device may send anything (statuses, image types).
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self, get_args

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64, from_little_endian, to_little_endian
from chf.zcl.frame import Frame, Payload, Status, cluster_command, unpack

CLUSTER = 0x0019  # ZCL8 11.13

CURRENT_FILE_VERSION = 0x0002  # client attributes, ZCL8 table 11-9
UNKNOWN_FILE_VERSION = 0xFFFF_FFFF  # what an attribute reads that nobody set, ZCL8 table 11-9
DOWNLOADED_FILE_VERSION = 0x0004  # the same
IMAGE_UPGRADE_STATUS = 0x0006  # the same
MANUFACTURER_ID = 0x0007  # the same
IMAGE_TYPE_ID = 0x0008  # the same
UNKNOWN_ID = 0xFFFF  # of either (our choice): it stands for any, so that it tells nothing

WAIT_FOR_COMMAND = 0xFFFF_FFFF  # upgrade time of "not yet: wait for another Upgrade End Response", ZCL8 11.13.9.2
NO_CURRENT_TIME = 0  # current time of "the other time is an offset in seconds", ZCL8 table 11-15

_HARDWARE_PRESENT = 1 << 0  # this and the next two: field control of the requests, ZCL8 11.13
_NODE_PRESENT = 1 << 0  # ZCL8 11.13.6
_PERIOD_PRESENT = 1 << 1  # ZCL8 11.13.6

_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_NOTIFY = Struct("<BB")  # payload type, query jitter: ZCL8 11.13, as all that follow
_QUERY = Struct("<BHHI")  # field control, manufacturer, image type, file version
_BLOCK_REQUEST = Struct("<BHHIIB")  # field control, image, offset, maximum size
_PAGE_REQUEST = Struct("<BHHIIBHH")  # the same, page size, response spacing
_BLOCK = Struct("<BHHIIB")  # status, image, offset, size of the data
_WAIT = Struct("<BII")  # status, current time, request time
_SPECIFIC_REQUEST = Struct("<8sHHIH")  # node, image, stack version
assert [s.size for s in (_QUERY, _BLOCK_REQUEST, _PAGE_REQUEST, _BLOCK)] == [9, 14, 18, 14]
assert [s.size for s in (_WAIT, _SPECIFIC_REQUEST)] == [9, 18]


class NotifyType(IntEnum):
    """How many of its fields an Image Notify carries, ZCL8 table 11-16."""

    JITTER = 0  # ZCL8 11.13.3
    MANUFACTURER = 1  # ZCL8 11.13.3
    IMAGE_TYPE = 2  # ZCL8 11.13.3
    FILE_VERSION = 3  # ZCL8 11.13.3


@dataclass(frozen=True, slots=True)
class ImageNotify:
    """Server to client. Absent fields are None, from the last backwards.

    A broadcast form exists (`jitter` thins out who answers); a unicast one asks with jitter 100.
    """

    COMMAND: ClassVar[int] = 0x00  # ZCL8 11.13.3
    TO_CLIENT: ClassVar[bool] = True

    jitter: int = 100  # everybody answers, ZCL8 11.13.3
    manufacturer_code: int | None = None
    image_type: int | None = None
    file_version: int | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        kind, jitter = unpack(_NOTIFY, payload, 0, "Image Notify")
        if kind > NotifyType.FILE_VERSION:
            raise MalformedFrameError(f"payload type {kind} is reserved", offset=0, field="Image Notify")
        fields = [
            unpack(layout, payload, offset, "Image Notify")[0]
            for layout, offset in ((_U16, 2), (_U16, 4), (_U32, 6))[:kind]
        ]
        return cls(jitter, *fields)

    def to_bytes(self) -> bytes:
        octets = b""
        kind = NotifyType.JITTER
        fields = (self.manufacturer_code, self.image_type, self.file_version)
        for number, layout, value in zip(tuple(NotifyType)[1:], (_U16, _U16, _U32), fields, strict=True):
            if value is None:
                break
            octets += layout.pack(value)
            kind = number
        return _NOTIFY.pack(kind, self.jitter) + octets


@dataclass(frozen=True, slots=True)
class QueryNextImageRequest:
    """Client to server."""

    COMMAND: ClassVar[int] = 0x01  # ZCL8 11.13.4
    TO_CLIENT: ClassVar[bool] = False

    manufacturer_code: int
    image_type: int
    file_version: int
    hardware_version: int | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        control, manufacturer_code, image_type, version = unpack(_QUERY, payload, 0, "Query Next Image Request")
        hardware = None
        if control & _HARDWARE_PRESENT:
            (hardware,) = unpack(_U16, payload, _QUERY.size, "hardware version")
        return cls(manufacturer_code, image_type, version, hardware)

    def to_bytes(self) -> bytes:
        control = 0 if self.hardware_version is None else _HARDWARE_PRESENT
        octets = _QUERY.pack(control, self.manufacturer_code, self.image_type, self.file_version)
        return octets if self.hardware_version is None else octets + _U16.pack(self.hardware_version)


@dataclass(frozen=True, slots=True)
class ImageFound(Payload):
    """What a Query Next Image Response or a Query Device Specific File Response carries with SUCCESS."""

    LAYOUT = Struct("<HHII")  # ZCL8 11.13

    manufacturer_code: int
    image_type: int
    file_version: int
    image_size: int


@dataclass(frozen=True, slots=True)
class QueryNextImageResponse:
    """Server to client: the image, or the status alone."""

    COMMAND: ClassVar[int] = 0x02  # ZCL8 11.13.5
    TO_CLIENT: ClassVar[bool] = True

    status: int
    image: ImageFound | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        (status,) = unpack(_U8, payload, 0, "status")
        if status != Status.SUCCESS:
            return cls(status)
        return cls(status, ImageFound.from_bytes(payload[1:]))

    def to_bytes(self) -> bytes:
        return _U8.pack(self.status) + (b"" if self.image is None else self.image.to_bytes())


@dataclass(frozen=True, slots=True)
class ImageBlockRequest:
    """Client to server. `minimum_block_period` is in milliseconds or seconds: cluster revisions differ."""

    COMMAND: ClassVar[int] = 0x03  # ZCL8 11.13.6
    TO_CLIENT: ClassVar[bool] = False

    manufacturer_code: int
    image_type: int
    file_version: int
    offset_bytes: int
    maximum_bytes: int
    node: Eui64 | None = None
    minimum_block_period: int | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        control, manufacturer_code, image_type, version, offset, maximum = unpack(
            _BLOCK_REQUEST, payload, 0, "Image Block Request"
        )
        end = _BLOCK_REQUEST.size
        node = period = None
        if control & _NODE_PRESENT:
            (octets,) = unpack(_NODE, payload, end, "node address")
            node = from_little_endian(octets)
            end += _NODE.size
        # Fielded clients append the period without setting its bit.
        if control & _PERIOD_PRESENT or len(payload) == end + _U16.size:
            (period,) = unpack(_U16, payload, end, "minimum block period")
        return cls(manufacturer_code, image_type, version, offset, maximum, node, period)

    def to_bytes(self) -> bytes:
        control = (self.node is not None) * _NODE_PRESENT | (self.minimum_block_period is not None) * _PERIOD_PRESENT
        image = self.manufacturer_code, self.image_type, self.file_version
        octets = _BLOCK_REQUEST.pack(control, *image, self.offset_bytes, self.maximum_bytes)
        if self.node is not None:
            octets += to_little_endian(self.node)
        return octets if self.minimum_block_period is None else octets + _U16.pack(self.minimum_block_period)


_NODE = Struct("<8s")  # IEEE EUI-64


@dataclass(frozen=True, slots=True)
class ImagePageRequest:
    """Client to server: many blocks for one request."""

    COMMAND: ClassVar[int] = 0x04  # ZCL8 11.13.7
    TO_CLIENT: ClassVar[bool] = False

    manufacturer_code: int
    image_type: int
    file_version: int
    offset_bytes: int
    maximum_bytes: int
    page_bytes: int
    spacing_ms: int
    node: Eui64 | None = None

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        control, manufacturer_code, image_type, version, offset, maximum, size, spacing = unpack(
            _PAGE_REQUEST, payload, 0, "Image Page Request"
        )
        node = None
        if control & _NODE_PRESENT:
            (octets,) = unpack(_NODE, payload, _PAGE_REQUEST.size, "node address")
            node = from_little_endian(octets)
        return cls(manufacturer_code, image_type, version, offset, maximum, size, spacing, node)

    def to_bytes(self) -> bytes:
        control = 0 if self.node is None else _NODE_PRESENT
        image = self.manufacturer_code, self.image_type, self.file_version
        page = self.offset_bytes, self.maximum_bytes, self.page_bytes, self.spacing_ms
        octets = _PAGE_REQUEST.pack(control, *image, *page)
        return octets if self.node is None else octets + to_little_endian(self.node)


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """Server to client, Image Block Response with SUCCESS."""

    COMMAND: ClassVar[int] = 0x05  # ZCL8 11.13.8
    TO_CLIENT: ClassVar[bool] = True

    manufacturer_code: int
    image_type: int
    file_version: int
    offset_bytes: int
    data: bytes

    def to_bytes(self) -> bytes:
        image = self.manufacturer_code, self.image_type, self.file_version
        return _BLOCK.pack(Status.SUCCESS, *image, self.offset_bytes, len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class WaitForData:
    """Server to client, Image Block Response with WAIT_FOR_DATA.

    Clients from before HA 1.2 know no `minimum_block_period`: None leaves it out.
    """

    COMMAND: ClassVar[int] = 0x05  # ZCL8 11.13.8
    TO_CLIENT: ClassVar[bool] = True

    current_time: int
    request_time: int
    minimum_block_period: int | None = 0

    def to_bytes(self) -> bytes:
        octets = _WAIT.pack(Status.WAIT_FOR_DATA, self.current_time, self.request_time)
        return octets if self.minimum_block_period is None else octets + _U16.pack(self.minimum_block_period)


@dataclass(frozen=True, slots=True)
class BlockRefused:
    """Server to client, Image Block Response with a status alone: ABORT, NO_IMAGE_AVAILABLE."""

    COMMAND: ClassVar[int] = 0x05  # ZCL8 11.13.8
    TO_CLIENT: ClassVar[bool] = True

    status: int

    def to_bytes(self) -> bytes:
        return _U8.pack(self.status)


ImageBlockResponse = ImageBlock | WaitForData | BlockRefused


def parse_image_block_response(payload: bytes) -> ImageBlockResponse:
    """Raises MalformedFrameError."""
    (status,) = unpack(_U8, payload, 0, "status")
    if status == Status.WAIT_FOR_DATA:
        _, current, request = unpack(_WAIT, payload, 0, "Image Block Response")
        if len(payload) < _WAIT.size + _U16.size:
            return WaitForData(current, request, None)
        return WaitForData(current, request, *_U16.unpack_from(payload, _WAIT.size))
    if status != Status.SUCCESS:
        return BlockRefused(status)
    _, manufacturer_code, image_type, version, offset, size = unpack(_BLOCK, payload, 0, "Image Block Response")
    data = payload[_BLOCK.size : _BLOCK.size + size]
    if len(data) < size:
        raise MalformedFrameError(f"{size} octets of data wanted, {len(data)} left", offset=_BLOCK.size)
    return ImageBlock(manufacturer_code, image_type, version, offset, data)


@dataclass(frozen=True, slots=True)
class UpgradeEndRequest(Payload):
    """Client to server: the download is over, one way or the other."""

    COMMAND: ClassVar[int] = 0x06  # ZCL8 11.13.9
    TO_CLIENT: ClassVar[bool] = False
    LAYOUT = Struct("<BHHI")  # ZCL8 11.13

    status: int
    manufacturer_code: int
    image_type: int
    file_version: int


@dataclass(frozen=True, slots=True)
class UpgradeEndResponse(Payload):
    """Server to client, asked for or not: when to activate, ZCL8 table 11-15.

    `current_time` 0 makes `upgrade_time` an offset in seconds; else both are seconds since 2000.
    """

    COMMAND: ClassVar[int] = 0x07  # ZCL8 11.13.9
    TO_CLIENT: ClassVar[bool] = True
    LAYOUT = Struct("<HHIII")  # ZCL8 11.13

    manufacturer_code: int
    image_type: int
    file_version: int
    current_time: int
    upgrade_time: int


@dataclass(frozen=True, slots=True)
class QueryDeviceSpecificFileRequest:
    """Client to server."""

    COMMAND: ClassVar[int] = 0x08  # ZCL8 11.13
    TO_CLIENT: ClassVar[bool] = False

    node: Eui64
    manufacturer_code: int
    image_type: int
    file_version: int
    stack_version: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        node, *fields = unpack(_SPECIFIC_REQUEST, payload, 0, "Query Device Specific File Request")
        return cls(from_little_endian(node), *fields)

    def to_bytes(self) -> bytes:
        return _SPECIFIC_REQUEST.pack(
            to_little_endian(self.node), self.manufacturer_code, self.image_type, self.file_version, self.stack_version
        )


@dataclass(frozen=True, slots=True)
class QueryDeviceSpecificFileResponse(QueryNextImageResponse):
    """Server to client; laid out like a Query Next Image Response."""

    COMMAND: ClassVar[int] = 0x09  # ZCL8 11.13


ServerCommand = (
    ImageNotify
    | QueryNextImageResponse
    | ImageBlock
    | WaitForData
    | BlockRefused
    | UpgradeEndResponse
    | QueryDeviceSpecificFileResponse
)
ClientCommand = (
    QueryNextImageRequest | ImageBlockRequest | ImagePageRequest | UpgradeEndRequest | QueryDeviceSpecificFileRequest
)
_CLIENT_COMMANDS: dict[int, type[ClientCommand]] = {kind.COMMAND: kind for kind in get_args(ClientCommand)}


def command(body: ServerCommand | ClientCommand, sequence: int) -> bytes:
    """The whole ZCL frame; a Default Response of success is not asked for."""
    return cluster_command(body.COMMAND, sequence, body.to_bytes(), to_client=body.TO_CLIENT)


def parse_request(frame: Frame) -> ClientCommand | None:
    """The client's command in a cluster frame, None for one that this cluster does not have.

    Raises MalformedFrameError for a payload that is too short.
    """
    kind = _CLIENT_COMMANDS.get(frame.command)
    return None if kind is None else kind.from_bytes(frame.payload)
