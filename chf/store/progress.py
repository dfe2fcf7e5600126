"""Where the transfers stand, for those who watch: written a few times a second, worth nothing later."""

import json
from dataclasses import asdict, dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import DamagedRowError
from chf.store.counters import Meta, MetaWriter
from chf.store.rows import json_object, unsigned, utc
from chf.update.model import UpdateId

KEY: Final = "progress of update "


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """`offset_bytes` is the device's, as its last request told; it goes back when a device starts again."""

    offset_bytes: int
    size_bytes: int
    blocks: int
    utc: UtcSeconds


def write(meta: MetaWriter, update: UpdateId, progress: TransferProgress) -> None:
    meta.set(_key(update), json.dumps(asdict(progress)))


def read(meta: Meta, update: UpdateId) -> TransferProgress | None:
    """None where it is not known; a damaged row is worth no more than none (`chf doctor` names it)."""
    try:
        text = meta.get(_key(update))
        return None if text is None else cell(text)
    except (DamagedRowError, ValueError, LookupError, TypeError):
        return None


def cell(value: object) -> TransferProgress:
    """Reads what is stored. Raises ValueError, LookupError or TypeError for what `write` does not write."""
    row = json_object(value)
    offset, size, blocks = (unsigned(32)(row[name]) for name in ("offset_bytes", "size_bytes", "blocks"))
    if not offset <= size or not size:
        raise ValueError(f"octet {offset} of {size}")
    return TransferProgress(offset, size, blocks, utc(row["utc"]))


def _key(update: UpdateId) -> str:
    return f"{KEY}{update}"
