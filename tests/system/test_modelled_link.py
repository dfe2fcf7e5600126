"""benchmarks/link.py: no host is faster on line and air than its floor says, nor is ours far from what it was."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.virtual_dongle import ROOT

HOSTS = ("chf", "zigpy")


def rows(*options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "benchmarks/link.py", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["rows"])


def test_a_block_has_no_fewer_octets_and_no_less_time_than_the_floor() -> None:
    """A host that is under it shows that the floor is wrong; chance in the backoff and in what is escaped is allowed."""
    told = rows("--image-kib", "2", "--baudrate", "115200", "460800", "--host", "chf")
    assert len(told) == 4
    for row in told:
        assert 0.6 < row["share_of_floor"] < 1.05
        assert row["line_floor_octets"] * 0.98 < row["line_octets"] < row["line_floor_octets"] * 1.05


@pytest.mark.slow
def test_hosts_are_compared_on_the_same_link() -> None:
    told = rows("--image-kib", "2", "--devices", "1", "3", "--loss", "0", "0.05")
    assert [row["host"] for row in told] == list(HOSTS) * 8
    assert all(row["chf_to_it"] == 1.0 for row in told[::2])
    assert all(row["chf_to_it"] > 0.9 for row in told[1::2])
