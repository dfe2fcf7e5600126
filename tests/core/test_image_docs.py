"""docs/image-format.md against the code and the recipes that it describes."""

import re
import tomllib
from pathlib import Path

from chf.cli.image import image as command
from chf.image.image import DEFAULT_LIMIT_BYTES
from chf.image.recipe import parse_recipe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "image-format.md").read_text()


def test_every_field_that_a_broken_recipe_names_is_in_the_table():
    fields = {tomllib.loads(path.read_text())["fault"]["field"] for path in (ROOT / "firmware_images/broken").iterdir()}
    rows = {line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")}
    assert {field for field in fields if not any(f"`{field}`" in row for row in rows)} == set()


def test_every_recipe_is_listed():
    section = TEXT.split("## The images in the repository")[1]
    assert set(re.findall(r"`([a-z0-9-]+)`", section.split("firmware_images")[0])) == {
        path.stem for path in (ROOT / "firmware_images/recipes").iterdir()
    }


def test_the_example_is_a_recipe():
    """Of the signed image of the repository, but for the text that its payload comes from."""
    example = TEXT.split("```toml\n")[1].split("```")[0].replace("any text", "chf test HCALCS v2")
    assert parse_recipe(example) == parse_recipe((ROOT / "firmware_images/recipes/hcalcs-v2.toml").read_text())


def test_every_option_in_the_commands_exists():
    lines = TEXT.split("## Commands")[1].split("```")[1]
    options = {option for each in command.commands.values() for parameter in each.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z0-9-]+", lines)) <= options
    assert {name for name in command.commands if f" {name} " in lines} == set(command.commands)


def test_the_limit_is_the_documented_one():
    assert f"The size limit of {DEFAULT_LIMIT_BYTES // 1024} KiB" in TEXT
