"""docs/failure-cases.md names tests that exist, and leaves out no case of the lists that it answers."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "failure-cases.md").read_text()
NAMED = sorted(set(re.findall(r"`(\w+/test_\w+)::(test_\w+)`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith(("| case", "| no."))]


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_failure_case_names_a_test_that_exists(file, test):
    assert test in names_in(file)


def test_failure_case_without_a_test_is_not_in_the_tables():
    assert len(ROWS) > 80
    assert [row for row in ROWS if "::test_" not in row] == []


def test_failure_case_numbers_are_complete():
    numbers = [int(row.split("|")[1]) for row in ROWS if row.split("|")[1].strip().isdigit()]
    assert numbers == [*range(1, 25), *range(41, 59)]


def test_failure_case_file_or_test_that_is_named_otherwise_is_noticed():
    """Every backticked name with a colon pair is one of ours, so that a typing error cannot hide a case."""
    assert len(re.findall(r"::", TEXT)) == len(re.findall(r"`\w+/test_\w+::test_\w+`", TEXT)) + TEXT.count(
        "`folder/file::test`"
    )
