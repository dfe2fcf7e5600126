"""An update as it is when it was ordered."""

from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.update import model


def accepted(number: int, device: int, image: str = "ab" * 32, **ordered) -> model.Update:
    """By `chf update start`, from version 1 to 2, to be activated at once, within a minute of 2027-01-15."""
    order = {
        "file_version": 2,
        "activation": model.ActivateNow(),
        "origin": "cli",
        "version_before": 1,
        "now_utc": 1_800_000_000.0,
        "lifetime_s": 60.0,
        **ordered,
    }
    return model.accept(number=model.UpdateId(number), device=Eui64(device), image=ImageId(image), **order)
