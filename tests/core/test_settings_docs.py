"""docs/settings.md names every setting of hub and DCC side, with its default."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from chf.dcc.settings import DccSettings
from chf.hub.settings import HubSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
SECTIONS = {item.name: getattr(HubSettings(), item.name) for item in fields(HubSettings)}
SECTIONS |= {"policy": DccSettings().policy, "delivery": DccSettings().delivery}


def documented() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for part in DOCUMENT.read_text(encoding="utf-8").split("\n### `[")[1:]:
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
