"""zigbee-herdsman, a host that nobody here wrote, in a process of its own. `.ci/run` installs it into `.node`.

events = run_herdsman(tmp_path, dongle.port, "zstack", installCode=install_code_text(...))
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.oracles import missing
from tests.support.virtual_dongle import ROOT

_MODULES = ROOT / ".node" / "node_modules"
_SCRIPT = Path(__file__).with_name("herdsman_host.js")


def need_herdsman() -> None:
    """Skip the test where it is not installed; in CI that is an error."""
    if shutil.which("node") is None:
        missing("node is not installed")
    if not (_MODULES / "zigbee-herdsman").is_dir():
        missing("zigbee-herdsman is not in .node: see .ci/run")


def run_herdsman(
    directory: Path, port: str, adapter: str, *, timeout_s: float = 120.0, **request: object
) -> list[dict[str, Any]]:
    """The events of herdsman_host.js. Its database and backup are kept in `directory` from run to run."""
    asked = {"port": port, "adapter": adapter, "directory": str(directory), **request}
    done = subprocess.run(
        ["node", str(_SCRIPT), json.dumps(asked)],
        env={**os.environ, "NODE_PATH": str(_MODULES)},
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
