"""A capture of the air, with its keys or without, as Wireshark reads it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.oracles import missing


def tshark() -> str:
    """Where it is; in CI it has to be."""
    found = shutil.which("tshark")
    if found is None:
        missing("tshark is not installed")
    return found


IMAGE_BLOCKS = (
    "zbee_zcl_general.ota.cmd.srv_tx.id == 0x05 && zbee_zcl_general.ota.status == 0x00",
    "zbee_zcl_general.ota.file.offset",
    "zbee_zcl_general.ota.image.data",
)
"""A display filter, and its fields."""


def image_of(rows: list[list[str]]) -> bytes:
    by_offset = {int(offset, 0): bytes.fromhex(data.replace(":", "")) for offset, data in rows}
    return b"".join(data for _, data in sorted(by_offset.items()))


@dataclass(frozen=True)
class GbcsOnAir:
    """A GBCS message that Wireshark found behind the tunnel's header, put together from its fragments."""

    octets: bytes
    cluster: int
    aps_secured: bool
    layers: tuple[str, ...]
    """What Wireshark saw inside of it."""
    fields: dict[str, str]
    """Of the message and of its GBZ payload, by the last part of their names."""


class AirCapture:
    """`directory` is for Wireshark's configuration, one with the keys in it and one without."""

    def __init__(self, directory: Path, pcap: Path, keys: Path) -> None:
        self._tshark, self._pcap = tshark(), pcap
        self._with_keys, self._without = directory / "wireshark", directory / "no-keys"
        self._with_keys.mkdir()
        self._without.mkdir()
        shutil.copy(keys, self._with_keys / "zigbee_pc_keys")

    def frames(self, wanted: str, *fields: str, decrypted: bool = True) -> list[list[str]]:
        """One row for each frame that the display filter lets through."""
        columns = [part for field in fields or ("frame.number",) for part in ("-e", field)]
        shown = self._read(wanted, "-T", "fields", *columns, decrypted=decrypted)
        return [line.split("\t") for line in shown.splitlines()]

    def image(self) -> bytes:
        """What all blocks that a server sent come to."""
        return image_of(self.frames(*IMAGE_BLOCKS))

    def gbcs(self) -> list[GbcsOnAir]:
        """In the order in which they were on the air."""
        found = []
        for frame in json.loads(self._read("gbcs_message", "-T", "json", "-x")):
            layers = frame["_source"]["layers"]
            names = [name for name in layers if not name.endswith("_raw")]
            inside = [layers[name] for name in ("gbcs_message", "gbcs_gbz") if name in layers]
            found.append(
                GbcsOnAir(
                    bytes.fromhex(layers["gbcs_message_raw"][0]),
                    int(layers["zbee_aps"]["zbee_aps.cluster"], 0),
                    "ZigBee Security Header" in layers["zbee_aps"],
                    tuple(names[names.index("gbcs_message") + 1 :]),
                    {name: text for layer in inside for name, text in _leaves(layer)},
                )
            )
        return found

    def _read(self, wanted: str, *how: str, decrypted: bool = True) -> str:
        configuration = self._with_keys if decrypted else self._without
        done = subprocess.run(
            [self._tshark, "-r", str(self._pcap), "-Y", wanted, *how],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "WIRESHARK_CONFIG_DIR": str(configuration)},
        )
        return done.stdout


def _leaves(layer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in layer.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif isinstance(value, str):
            yield name.rpartition(".")[2], value
