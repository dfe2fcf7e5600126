"""docs/real-sticks.md has a row for each number of the adapters that no standard gives, and for each open question."""

import ast
import re
from pathlib import Path

from chf.radio.ezsp import security as ezsp_security
from chf.radio.znp import security as znp_security

ROOT = Path(__file__).parents[2]
RADIO = ROOT / "chf" / "radio"
PAGE = (ROOT / "docs" / "real-sticks.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w/]+\.py)` `(\w+)` \| (\S+) \| (\S.*) \|$", re.MULTILINE)
GIVEN = re.compile(r"MT API|UG100|UG600|Zigbee R22|\br22\b|\bTI\b|IEEE|SE1\.4|Zigbee Home|AES")
"""What a constant's own line cites where a standard or a maker's manual gives it."""


def constants() -> dict[tuple[str, str], float]:
    """Numbers of chf/radio, by file and name, that nothing but us, or a library, gives."""
    found = {}
    for path in RADIO.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant() as value)
                ):
                    pass
                case _:
                    continue
            cited = GIVEN.search(text.splitlines()[node.lineno - 1].partition("#")[2])
            if (
                name.isupper()
                and cited is None
                and isinstance(value, ast.Constant)
                and type(value.value) in {int, float}
            ):
                found[str(path.relative_to(RADIO)), name] = value.value
    return found


def test_no_constant_of_an_adapter_changes_without_its_row():
    rows = {(file, name): float(value) for file, name, value, _ in ROW.findall(PAGE)}
    assert rows == constants(), "docs/real-sticks.md: change the row too, and say what speaks for the new value"


def test_each_open_question_of_the_probe_has_its_row():
    sources = (Path(module.__file__).read_text(encoding="utf-8") for module in (ezsp_security, znp_security))
    asked = {name for source in sources for name in re.findall(r'Question\(\s*"([EZ]\d)"', source)}
    assert len(asked) == 13
    assert asked == set(re.findall(r"^\| ([EZ]\d): ", PAGE, re.MULTILINE))
