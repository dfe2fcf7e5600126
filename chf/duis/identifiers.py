"""RequestID, ResponseID and lists of device ids, as DUIS writes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from chf.errors import MalformedRequestError
from chf.eui64 import Eui64, format_eui64

MOST_DEVICE_IDS = 50_000  # XSD: a list has at most 1,199,999 characters

_EUI = r"[A-Fa-f0-9]{2}(?:-[A-Fa-f0-9]{2}){7}"  # DUIS-XSD
_REQUEST_ID = re.compile(rf"({_EUI}):({_EUI}):(0|[1-9][0-9]{{0,19}})")  # DUIS-XSD
_ID_CHARACTERS = 23  # an EUI-64 with hyphens


@dataclass(frozen=True, slots=True)
class RequestId:
    """`originator:target:counter`. The counter rises with each request of an originator; u64."""

    originator: Eui64
    target: Eui64
    counter: int

    def __str__(self) -> str:
        return f"{format_eui64(self.originator)}:{format_eui64(self.target)}:{self.counter}"

    def response_id(self) -> Self:
        """The ResponseID that answers this request: the same counter, the other way round."""
        return type(self)(self.target, self.originator, self.counter)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises MalformedRequestError; EUIs in either case, no leading zeros."""
        match = _REQUEST_ID.fullmatch(text)
        if match is None:
            raise MalformedRequestError(
                f"{text[:80]!r} is not ORIGINATOR:TARGET:COUNTER with EUIs such as 00-DB-12-34-56-78-90-A4",
                field="RequestID",
            )
        counter = int(match[3])
        if counter >= 1 << 64:
            raise MalformedRequestError(f"the counter {counter} is beyond 2^64 - 1", field="RequestID")
        return cls(_eui(match[1]), _eui(match[2]), counter)


def parse_device_ids(text: str) -> tuple[Eui64, ...]:
    """EUIs joined by commas, without spaces; duplicates stay. Raises MalformedRequestError that names the place."""
    if len(text) > MOST_DEVICE_IDS * (_ID_CHARACTERS + 1) - 1:
        raise MalformedRequestError(f"more than {MOST_DEVICE_IDS} device ids")
    eui = re.compile(_EUI)
    ids = []
    for number, part in enumerate(text.split(","), start=1):
        if not eui.fullmatch(part):
            raise MalformedRequestError(
                f"id number {number}, {part[:40]!r}, is not an EUI such as 00-DB-12-34-56-78-90-A4"
            )
        ids.append(_eui(part))
    return tuple(ids)


def format_device_ids(ids: Sequence[Eui64]) -> str:
    return ",".join(format_eui64(eui64) for eui64 in ids)


def _eui(text: str) -> Eui64:
    return Eui64(int(text.replace("-", ""), 16))
