"""What the bench writes down while it runs: the capture, the keys that open it, and the devices' events."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO, TextIO

from devices.bench.dongles import Dongle
from devices.bench.toml_section import format_eui64
from devices.nodes.events import DownloadProgress, NodeEvent
from devices.stack.interface import Eui64
from devices.wire.pcap import PcapWriter, write_zigbee_pc_keys

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_CAPTURE_BUFFER_BYTES = 1 << 16  # our choice


class Capture:
    """A pcap of everything on the air, flushed whenever the bench has nothing more to do at once."""

    def __init__(self, path: Path, now_s: float) -> None:
        """`now_s` is what simulated time shows now: the frames bear the wall clock's time."""
        self._stream: BinaryIO = path.open("wb", buffering=_CAPTURE_BUFFER_BYTES)
        self.write = PcapWriter(self._stream, time.time_ns() / 1e9 - now_s).write
        self.flush()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class KeyFile:
    """Every key that was ever in use, in the form of Wireshark's `zigbee_pc_keys`; written again when one is added."""

    def __init__(self, path: Path, known: dict[Eui64, bytes]) -> None:
        self._path = path
        self._keys: dict[bytes, str] = {}
        self._seen: object = None
        for eui64, key in known.items():
            self._add(key, f"link {format_eui64(eui64)}")
        self._write()

    def _add(self, key: bytes, label: str) -> bool:
        if key in self._keys:
            return False
        self._keys[key] = label
        return True

    def look_at(self, dongle: Dongle) -> None:
        """Cheap where nothing changed: it is called after every turn of the bench."""
        network = dongle.stack.network
        state = (id(network), dongle.keys.revision)
        if state == self._seen:
            return
        self._seen = state
        added = network is not None and self._add(network.network_key, f"network {network.pan_id:04X}")
        for eui64, key in dongle.keys.in_use().items():
            added = self._add(key, f"link {format_eui64(eui64)}") or added
        if added:
            self._write()

    def _write(self) -> None:
        labels: dict[str, bytes] = {}
        for number, (key, label) in enumerate(self._keys.items()):
            labels[label if label not in labels else f"{label} {number}"] = key
        write_zigbee_pc_keys(self._path, labels)


class EventLog:
    """A `NodeListener` that writes one JSON object a line: time, event, eui64, and the event's own fields.

    Progress is told once for each whole per cent; octets are hex. Readers have a line once it was flushed.
    """

    def __init__(self, stream: TextIO, started_s: float, now: Callable[[], float]) -> None:
        self._stream = stream
        self._started_s = started_s
        self._now = now
        self._percent: dict[Eui64, int] = {}

    @staticmethod
    def name_of(kind: type[NodeEvent]) -> str:
        """`DownloadStarted` is `download_started`."""
        return _WORD.sub("_", kind.__name__).lower()

    def happened(self, eui64: Eui64, event: NodeEvent) -> None:
        if isinstance(event, DownloadProgress):
            percent = event.offset_bytes * 100 // max(event.size_bytes, 1)
            if self._percent.get(eui64) == percent:
                return
            self._percent[eui64] = percent
        values: dict[str, object] = {"eui64": format_eui64(eui64)}
        for field in fields(event):
            value = getattr(event, field.name)
            values[field.name] = value.hex() if isinstance(value, bytes) else value
        self.write(self.name_of(type(event)), values)

    def write(self, name: str, values: dict[str, object]) -> None:
        record = {"time_s": round(self._now() - self._started_s, 6), "event": name, **values}
        self._stream.write(json.dumps(record) + "\n")

    def flush(self) -> None:
        self._stream.flush()


class NoEvents:
    """A `NodeListener` that does not listen."""

    def happened(self, eui64: Eui64, event: NodeEvent) -> None:
        pass
