"""The hub's TOML file: every setting can be written in its unit, and mistakes are named."""

from dataclasses import fields

import pytest

from chf.errors import UsageError
from chf.hub.settings import HubSettings
from chf.update.model import TimeForm


def load(tmp_path, text):
    path = tmp_path / "hub.toml"
    path.write_text(text)
    return HubSettings.load(path)


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load(tmp_path, "") == HubSettings()


def test_every_time_in_seconds_takes_a_fraction_and_a_whole_number(tmp_path):
    policies = {"ota": HubSettings().ota, "jobs": HubSettings().jobs, "tunnel": HubSettings().tunnel}
    times = [(name, item.name) for name, policy in policies.items() for item in fields(policy) if item.type is float]
    assert ("ota", "grace_s") in times
    for section, name in times:
        for text in ("7.5", "7"):
            settings = load(tmp_path, f"[{section}]\n{name} = {text}\n")
            value = getattr(getattr(settings, section), name)
            assert (type(value), value) == (float, float(text))


def test_words_switches_and_whole_numbers(tmp_path):
    text = '[ota]\ntime_form = "absolute"\nacknowledge_blocks = false\nblock_bytes = 50\n'
    chosen = load(tmp_path, text).ota
    assert (chosen.time_form, chosen.acknowledge_blocks, chosen.block_bytes) == (TimeForm.ABSOLUTE, False, 50)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[radio]\n", "there is no section [radio]"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("a = " + "1" * 10_000, "is not TOML"),
        ("ota = 3\n", "[ota] is not a section"),
        ("[ota]\nblock = 3\n", "there is no setting 'block'"),
        ("[ota]\nblock_bytes = 50.5\n", "a whole number"),
        ("[ota]\nblock_bytes = true\n", "does not fit"),
        ("[ota]\ntime_form = 'soon'\n", "one of relative, absolute"),
        ("[ota]\ncommit_window_s = 4000\n", "clients cut a wait to 3600 s"),
        ("[jobs]\nconcurrent = 0\n", "at least one update"),
        ("[ota\n", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, reason):
    with pytest.raises(UsageError, match=r"hub\.toml") as caught:
        load(tmp_path, text)
    assert reason in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        HubSettings.load(tmp_path / "missing.toml")
