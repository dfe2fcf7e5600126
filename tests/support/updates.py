"""An update as it is when it was ordered."""

from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId
from chf.update import model
from chf.update.eligibility import DeviceImage

MADE_FOR = ImageType(0x10D4, 1)


def told(version: int | None, image_type: ImageType = MADE_FOR, **more) -> model.VersionObserved:
    """A device names a version, of the image type that the updates here are for."""
    return model.VersionObserved(version, image_type, **more)


def runs(version: int | None, manufacturer: int = 0x10D4, number: int = 1, hardware: int | None = None) -> tuple:
    """The images of a device that has one."""
    return (DeviceImage(ImageType(manufacturer, number), 1_800_000_000.0, version, hardware),)


def accepted(number: int, device: int, image: str = "ab" * 32, **ordered) -> model.Update:
    """By `chf update start`, from version 1 to 2, to be activated at once, within a minute of 2027-01-15."""
    order = {
        "image_type": MADE_FOR,
        "file_version": 2,
        "activation": model.ActivateNow(),
        "origin": "cli",
        "version_before": 1,
        "now_utc": 1_800_000_000.0,
        "lifetime_s": 60.0,
        **ordered,
    }
    return model.accept(number=model.UpdateId(number), device=Eui64(device), image=ImageId(image), **order)
