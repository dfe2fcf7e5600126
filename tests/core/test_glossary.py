"""docs/glossary.md explains every abbreviation of the pages that a newcomer reads, and each once."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/architecture.md", "docs/dcc.md", "docs/settings.md", "docs/report.md"]
EVERYBODY_KNOWS = set(
    re.findall(
        r"\w+",
        """ADR ASCII CHANGELOG CI CONTRIBUTING CPU CSS DNS GB GPL HTML HTTP JSON PEM DER PC PKI RAM README RFC ROM SHA SQL
        TCP TLS TOML PTY TTY URL USB UTC UTF XML XSD ABORT DATA DOCTYPE HA HMAC MB POST SIGKILL SIGTERM TI""",
    )
)
EXPLAINED = re.findall(r"^\| (.+?) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
TERMS = {word for term in EXPLAINED for word in re.findall(r"[A-Za-z0-9]+", term)}


def test_each_is_explained_once():
    assert [term for term, count in Counter(EXPLAINED).items() if count > 1 and term not in {"term", "---"}] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_abbreviation_of_a_page_is_explained(page):
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    found = {word.removesuffix("s") for word in re.findall(r"\b[A-Z]{2,}[0-9]*s?\b", text)}
    assert sorted(found - TERMS - EVERYBODY_KNOWS) == []


def test_readme_and_index_link_to_it():
    assert "(docs/glossary.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(glossary.md)" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
