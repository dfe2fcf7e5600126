"""docs/state-machines.md is what the tables say."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_state_diagrams_are_those_of_the_tables():
    generator = runpy.run_path(str(DOCS / "state_machines.py"))
    assert (DOCS / "state-machines.md").read_text(encoding="utf-8") == generator["document"](), (
        "stale: run python docs/state_machines.py"
    )
