"""Between bellows' types and ours."""

from typing import Any

import bellows.types as ember

from chf.eui64 import Eui64, from_little_endian, to_little_endian


def is_ok(status: Any) -> bool:
    return bool(ember.sl_Status.from_ember_status(status) == ember.sl_Status.OK)


def status_name(status: Any) -> str:
    return str(getattr(status, "name", status))


def ember_eui64(device: Eui64) -> Any:
    eui64, _ = ember.EUI64.deserialize(to_little_endian(device))
    return eui64


def eui64_of(eui64: Any) -> Eui64:
    return from_little_endian(eui64.serialize())
