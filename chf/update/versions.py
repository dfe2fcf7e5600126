"""What devices tell of the firmware that they run: of which of its images each speaks, and which version, if any.

A device may have several images, each of its own image type, and asks for each in turn (ZCL8 11.13.4). So a version
means nothing without its type. Query Next Image names both. A read of CurrentFileVersion has no type of its own; it
counts for the type that ManufacturerID and ImageTypeID name beside it, else for the only type that the device ever
spoke of, else for none. A GBCS message has no type either.
"""

from collections.abc import Iterable
from typing import Final

from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.update.model import VersionObserved
from chf.zcl import ota as zcl
from chf.zcl.attributes import AttributeRecord, DataType
from chf.zcl.frame import status_name

MOST_IMAGE_TYPES: Final = 16
"""That are remembered of a device (our choice): one that makes them up may not fill our memory, or the store."""


class VersionsTold:
    """Remembers which image types each device spoke of."""

    def __init__(self) -> None:
        self._spoken_of: dict[Eui64, set[ImageType]] = {}

    def set(self, device: Eui64, image_types: Iterable[ImageType]) -> None:
        """Those that the device log has."""
        self._spoken_of[device] = set(image_types)

    def add(self, device: Eui64, image_type: ImageType) -> None:
        """It was served an image of this type."""
        self._is_first(device, image_type)

    def drop(self, device: Eui64, image_type: ImageType) -> None:
        """Its firmware goes by another type now."""
        self._spoken_of.get(device, set()).discard(image_type)

    def by_query(self, device: Eui64, request: zcl.QueryNextImageRequest) -> VersionObserved:
        image_type = ImageType(request.manufacturer_code, request.image_type)
        known = request.file_version != zcl.UNKNOWN_FILE_VERSION
        return VersionObserved(
            request.file_version if known else None,
            image_type,
            doubt="" if known else "it asks for an image and says that it runs 0xFFFFFFFF, which is no version",
            hardware_version=request.hardware_version,
            queried=True,
            first=self._is_first(device, image_type),
        )

    def by_attributes(self, device: Eui64, records: Iterable[AttributeRecord]) -> VersionObserved | None:
        """An answer to a read, or a report; None where it is not about CurrentFileVersion."""
        told = {record.identifier: record for record in records}
        record = told.get(zcl.CURRENT_FILE_VERSION)
        if record is None:
            return None
        manufacturer = _number(told.get(zcl.MANUFACTURER_ID), DataType.UINT16, zcl.UNKNOWN_ID)
        number = _number(told.get(zcl.IMAGE_TYPE_ID), DataType.UINT16, zcl.UNKNOWN_ID)
        image_type = self._type_of(device, manufacturer, number)
        version = _number(record, DataType.UINT32, zcl.UNKNOWN_FILE_VERSION)
        doubt = _why_unknown(record) if version is None else self._why_whose(device, image_type)
        first = image_type is not None and self._is_first(device, image_type)
        return VersionObserved(version, image_type, doubt=doubt, first=first)

    def by_message(self, device: Eui64, version: int) -> VersionObserved:
        """A GBCS response to a version read."""
        image_type = self._type_of(device, None, None)
        if version == zcl.UNKNOWN_FILE_VERSION:
            return VersionObserved(None, image_type, doubt="it says that it runs 0xFFFFFFFF, which is no version")
        return VersionObserved(version, image_type, doubt=self._why_whose(device, image_type))

    def _is_first(self, device: Eui64, image_type: ImageType) -> bool:
        """Whether it never spoke of this type before; from now on it has."""
        spoken_of = self._spoken_of.setdefault(device, set())
        if image_type in spoken_of or len(spoken_of) >= MOST_IMAGE_TYPES:
            return False
        spoken_of.add(image_type)
        return True

    def _type_of(self, device: Eui64, manufacturer: int | None, number: int | None) -> ImageType | None:
        """Of what is told without a type, or with half of one."""
        if manufacturer is not None and number is not None:
            return ImageType(manufacturer, number)
        spoken_of = self._spoken_of.get(device, set())
        if number is None and len(spoken_of) > 1:
            return None  # a manufacturer makes more than one of them
        fits = [
            image_type
            for image_type in spoken_of
            if manufacturer in (None, image_type.manufacturer_code) and number in (None, image_type.number)
        ]
        return fits[0] if len(fits) == 1 else None

    def _why_whose(self, device: Eui64, image_type: ImageType | None) -> str:
        if image_type is not None:
            return ""
        if self._spoken_of.get(device):
            return "it has several images, and does not say of which its version is"
        return "it does not say of which image its version is, and never asked for one"


def _number(record: AttributeRecord | None, data_type: DataType, unknown: int) -> int | None:
    """None for what is absent, not of its type, or the value of an attribute that nobody set."""
    value = None if record is None else record.value
    if value is None or value.data_type is not data_type or not isinstance(value.content, int):
        return None
    return None if value.content == unknown else value.content


def _why_unknown(record: AttributeRecord) -> str:
    if record.value is None:
        return f"its version cannot be read: {status_name(record.status)}"
    if record.value.data_type is not DataType.UINT32:
        return f"its version reads as {record.value.data_type.name}, which no file version is"
    return "its version reads 0xFFFFFFFF, which is no version"
