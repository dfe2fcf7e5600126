"""The page about other hosts stays true."""

import re
from pathlib import Path

from devices.bench.scenario import load_scenario
from devices.stack.interface import HOME_AUTOMATION_PROFILE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "other-hosts.md").read_text()


def test_its_example_loads_and_suits_hosts_without_smart_energy(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "device.toml"
    path.write_text(example)
    (device,) = load_scenario(path).devices
    assert device.settings.profile == HOME_AUTOMATION_PROFILE
    assert not device.settings.aps_security_required


def test_the_tests_that_it_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert len(named) == 3
    assert all((ROOT / name).is_file() for name in named)
