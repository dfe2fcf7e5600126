"""Where the transfers stand, for those who watch: written a few times a second, worth nothing later."""

import json
from dataclasses import asdict, dataclass

from chf.clock import UtcSeconds
from chf.store.counters import Meta, MetaWriter
from chf.update.model import UpdateId


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """`offset_bytes` is the device's, as its last request told; it goes back when a device starts again."""

    offset_bytes: int
    size_bytes: int
    blocks: int
    utc: UtcSeconds


def write(meta: MetaWriter, job: UpdateId, progress: TransferProgress) -> None:
    meta.set(_key(job), json.dumps(asdict(progress)))


def read(meta: Meta, job: UpdateId) -> TransferProgress | None:
    text = meta.get(_key(job))
    return None if text is None else TransferProgress(**json.loads(text))


def _key(job: UpdateId) -> str:
    return f"progress of update {job}"
