"""The rules of the house that a machine can check, so that `make test` is the whole gate."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FORBIDDEN_TEXT = {
    "a clock read outside the shells": re.compile(
        r"\btime\.(?:time|monotonic|perf_counter)(?:_ns)?\(|\bdatetime\.now\("
    )
}
MAY_READ_A_CLOCK = {"chf/clock.py", "chf/cli/options.py", "devices/bench/recordings.py"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "ruff", "check", "."),
        ("-m", "mypy"),
        ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    ],
    ids=["format", "lint", "types", "layers"],
)
def test_the_tools_are_content(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_clock_module_reads_a_clock() -> None:
    for name in tracked("chf/**.py", "devices/**.py"):
        if name in MAY_READ_A_CLOCK:
            continue
        text = (ROOT / name).read_text()
        for what, pattern in FORBIDDEN_TEXT.items():
            assert not pattern.search(text), f"{name}: {what}"


def test_no_private_key_lies_in_the_repository() -> None:
    marker = "PRIVATE" + " KEY-----"
    for name in tracked():
        assert marker not in (ROOT / name).read_bytes().decode("latin-1"), name


def test_every_document_that_is_linked_exists() -> None:
    for name in tracked("*.md", "docs/**.md"):
        text = (ROOT / name).read_text()
        for target in re.findall(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)", text):
            if "://" in target or target.startswith("mailto:"):
                continue
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}, which is not there"


def test_help_imports_no_radio_library() -> None:
    """`chf --help` must start in a fraction of a second: what is slow to import is imported when it is used."""
    probe = (
        "import sys; sys.argv=['chf','--help']\n"
        "from chf.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'zigpy','bellows','cryptography','rich','lxml','asyncio','sqlite3'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    result = run("-c", probe)
    assert result.returncode == 0, result.stderr


def test_every_source_on_the_page_of_sources_is_cited() -> None:
    code = [(ROOT / name).read_text() for name in tracked("chf/**.py", "devices/**.py")]
    names = re.findall(r"^\| ([A-Z][A-Za-z-]+) \|", (ROOT / "docs/sources.md").read_text(), re.MULTILINE)
    assert names
    for source in names:
        assert any(re.search(rf"\b{source}\b", text) for text in code), f"{source} is cited nowhere"
