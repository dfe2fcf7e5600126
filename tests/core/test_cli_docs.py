"""Every `chf` and `python -m devices` command that a document shows is one that the program takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from chf.cli.main import chf
from devices.__main__ import main as devices

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if path.name != "CHANGELOG.md")
PROGRAMS: dict[str, click.Command] = {"chf": chf, "python -m devices": devices}
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:\$ |sudo )?(chf|python -m devices) (.*)")


def commands():
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        for line in (*lines, *SPAN.findall(BLOCK.sub("", text))):
            found = COMMAND.fullmatch(line.strip())
            if found and not found[2].startswith(("--help", "-h", "...")):
                yield pytest.param(found[1], found[2], id=f"{path.name}: {found[0][:60]}")


def words_of(text):
    """Without the marks of `[--optional VALUE]`, and without what a shell would do after the command."""
    return re.split(r"\s[>|&]\s", " ".join(shlex.split(re.sub(r"[\[\]]", " ", text), comments=True)))[0].split()


def complaint(command, words):
    """What is wrong with a command line of a document, or None."""
    words = list(words)
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            return None if not words else f"{words[0]} where a command is expected"
        word = words.pop(0)
        names = word.split("|") if "|" in word else [word]
        found = [command.get_command(click.Context(command), name) for name in names]
        if None in found:
            return None if word in {"...", "…"} else f"there is no command {word}"
        command = found[-1]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and len(name) > 1 and not name[1].isdigit() and name not in options:
            return f"{name} is no option of it: {', '.join(sorted(options))}"
    return None


@pytest.mark.parametrize(("program", "line"), [*commands()])
def test_a_command_of_a_document_is_taken(program, line):
    assert complaint(PROGRAMS[program], words_of(line)) is None


def test_commands_are_found_and_wrong_ones_are_seen():
    assert len(list(commands())) > 60
    assert complaint(chf, words_of("update start --divice X")) is not None
    assert complaint(chf, words_of("updates")) is not None
    assert complaint(chf, words_of("image add FILE [--name NAME] # why")) is None
