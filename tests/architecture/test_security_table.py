"""docs/security.md names a test for each attack: the tests are there, and no attack of the list is without one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = "## Attacks, and what they come to"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")

LIST = (
    "of another CA",
    "another EUI-64",
    "expired",
    "malformed point",
    "at infinity",
    "off the curve",
    "of zero",
    "wrong MACU",
    "suite that does not fit",
    "Initiates from many devices",
    "Terminate from a third party",
    "secured by the old key",
    "whole recorded exchange",
    "OTA query with NWK security only",
    "device A within device B's session",
    "tunnel data",
    "forgotten in mid-download",
    "between Confirm and key installation",
    "before a restart of the hub",
    "not in the device log",
    "wrong install code",
)


def rows() -> list[tuple[str, str, list[tuple[str, str]]]]:
    section = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    cells = [line.strip("|\n ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    return [(attack, outcome, NAMED.findall(tests)) for attack, outcome, tests in cells]


def functions(file: str) -> set[str]:
    (path,) = ROOT.glob(f"tests/*/{file}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("what", LIST)
def test_every_attack_of_the_list_is_in_the_table(what: str) -> None:
    assert [attack for attack, _, _ in rows() if what in attack]


def test_every_attack_has_an_outcome_and_a_test_that_is_there() -> None:
    assert len(rows()) >= 20
    for attack, outcome, tests in rows():
        assert outcome, attack
        assert tests, attack
        for file, name in tests:
            assert name in functions(file), f"{attack}: {file} has no {name}"


def test_every_attack_that_the_hand_written_device_tries_is_in_the_table() -> None:
    tried = {name for name in functions("test_attacking_device.py") if name.startswith("test_")}
    told = {name for _, _, tests in rows() for file, name in tests if file == "test_attacking_device.py"}
    assert tried - told == {"test_an_honest_device_written_by_hand_gets_its_key_and_is_served"}
