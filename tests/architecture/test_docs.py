"""The documents say what the programs do: commands, settings, state machines, the image format, other hosts."""

import re
import runpy
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from chf.cli.image import image
from chf.cli.main import chf
from chf.dcc.settings import DccSettings
from chf.hub.settings import HubSettings
from chf.image.image import DEFAULT_LIMIT_BYTES
from chf.image.recipe import parse_recipe
from devices.__main__ import main as devices
from devices.bench.scenario import load_scenario
from devices.stack.interface import HOME_AUTOMATION_PROFILE

ROOT = Path(__file__).parents[2]
DOCS, IMAGES = ROOT / "docs", ROOT / "firmware_images"
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


def test_the_state_diagrams_are_those_of_the_tables():
    generator = runpy.run_path(str(DOCS / "state_machines.py"))
    assert (DOCS / "state-machines.md").read_text(encoding="utf-8") == generator["document"](), (
        "stale: run python docs/state_machines.py"
    )


# Settings, with their defaults

SECTIONS = {item.name: getattr(HubSettings(), item.name) for item in fields(HubSettings)}
SECTIONS |= {"policy": DccSettings().policy, "delivery": DccSettings().delivery}


def documented() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for part in (DOCS / "settings.md").read_text(encoding="utf-8").split("\n### `[")[1:]:
        name, rest = part.split("]`", 1)
        settings = found.setdefault(name, {})
        for row in re.findall(r"^\| (`.*?) \|$", rest.split("\n## ")[0], re.MULTILINE):
            names, defaults = (re.findall(r"`(.*?)`", cell) for cell in row.split(" | ")[:2])
            settings |= tomllib.loads("\n".join(f"{key} = {value}" for key, value in zip(names, defaults, strict=True)))
    return found


def test_every_section_is_there():
    assert documented().keys() == SECTIONS.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_every_setting_with_its_default(section):
    policy = SECTIONS[section]
    assert documented()[section] == {item.name: getattr(policy, item.name) for item in fields(policy)}


# The image format

FORMAT = (DOCS / "image-format.md").read_text()


def test_every_field_that_a_broken_recipe_names_is_in_the_table():
    named = {tomllib.loads(path.read_text())["fault"]["field"] for path in (IMAGES / "broken").iterdir()}
    rows = {line.split("|")[1] for line in FORMAT.splitlines() if line.startswith("| `")}
    assert {field for field in named if not any(f"`{field}`" in row for row in rows)} == set()


def test_every_recipe_is_listed():
    section = FORMAT.split("## The images in the repository")[1]
    assert set(re.findall(r"`([a-z0-9-]+)`", section.split("firmware_images")[0])) == {
        path.stem for path in (IMAGES / "recipes").iterdir()
    }


def test_the_example_is_a_recipe():
    """Of the signed image of the repository, but for the text that its payload comes from."""
    example = FORMAT.split("```toml\n")[1].split("```")[0].replace("any text", "chf test HCALCS v2")
    assert parse_recipe(example) == parse_recipe((IMAGES / "recipes/hcalcs-v2.toml").read_text())


def test_every_command_for_images_is_shown():
    lines = FORMAT.split("## Commands")[1].split("```")[1]
    options = {option for each in image.commands.values() for parameter in each.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z0-9-]+", lines)) <= options
    assert {name for name in image.commands if f" {name} " in lines} == set(image.commands)


def test_the_limit_is_the_documented_one():
    assert f"The size limit of {DEFAULT_LIMIT_BYTES // 1024} KiB" in FORMAT


# Other hosts

HOSTS = (DOCS / "other-hosts.md").read_text()


def test_the_example_for_other_hosts_loads_and_suits_those_without_smart_energy(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", HOSTS, re.DOTALL)
    path = tmp_path / "device.toml"
    path.write_text(example)
    (device,) = load_scenario(path).devices
    assert device.settings.profile == HOME_AUTOMATION_PROFILE
    assert not device.settings.aps_security_required


def test_the_tests_with_other_hosts_exist():
    named = re.findall(r"`(tests/[\w/.]+)`", HOSTS)
    assert len(named) == 6
    assert all((ROOT / name).is_file() for name in named)
