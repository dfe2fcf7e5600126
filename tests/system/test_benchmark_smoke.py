"""The benchmarks work: one small run of each host. What they measure depends on the machine and is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ("chf", "zigpy", "zigpy-no-thread", "zigpy-home-automation")

pytestmark = pytest.mark.slow


def benchmark(*options: str) -> str:
    command = [sys.executable, "benchmarks/ota_throughput.py", "--image-kib", "2", "--runs", "1", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("radio", ["ezsp", "znp"])
def test_every_host_updates_the_fleet(radio: str) -> None:
    chosen = [option for peer in PEERS for option in ("--peer", peer)]
    alone = json.loads(benchmark("--devices", "2", "--radio", radio, "--json", *chosen))["cases"]["alone"]
    assert tuple(alone["peers"]) == PEERS
    for figures in alone["peers"].values():
        (run,) = figures["runs"]
        assert run["blocks"] == 2 * 41  # 2,048 octets in blocks of 50
        assert run["repeated_requests"] == 0
        assert all(value > 0 for name, value in run.items() if name != "repeated_requests")
    assert tuple(alone["ratios"]) == PEERS[1:]


def test_key_establishment_is_measured_beside_a_download() -> None:
    command = [sys.executable, "benchmarks/key_establishment.py", "--rounds", "1", "--runs", "1", "--devices", "2"]
    done = subprocess.run(
        [*command, "--quiet-s", "0.5", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [side["suite"] for side in result["sides"]] == [1, 2]
    assert all(0 < side["multiplication_ms"] < side["side_ms"] for side in result["sides"])
    beside = result["beside_a_download"]
    (run,) = beside["runs"]
    assert all(
        run[when]["blocks"] > 10 and 0 < run[when]["p50_ms"] <= run[when]["p99_ms"] for when in ("quiet", "busy")
    )
    assert beside["ratio"] == round(run["busy"]["p99_ms"] / run["quiet"]["p99_ms"], 2)


def test_slow_devices_are_measured_beside_the_others() -> None:
    result = json.loads(benchmark("--slow-devices", "1", "--confirm-ms", "50", "--peer", "chf", "--json"))
    assert set(result["cases"]) == {"alone", "with slow devices"}
    (beside,) = result["cases"]["with slow devices"]["peers"]["chf"]["runs"]
    assert beside["blocks"] == 41  # of the quick device alone
    assert result["rate_left_beside_slow_devices"]["chf"] > 0


def test_by_page_and_for_people() -> None:
    table = benchmark("--page", "--peer", "chf")
    assert "| chf |" in table
    assert "115,200 baud" in table
    assert "repeated" not in table


def test_an_old_store_is_measured_beside_a_young_one() -> None:
    command = [sys.executable, "benchmarks/old_store.py", "--old", "60", "--young", "40", "--runs", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["rows"], result["goal"]) == ({"young": 40, "old": 60}, 1.5)
    told = {line["what"]: line for line in result["lines"]}
    assert {"the hub's store: open, load, ready", "alert list", "update list", "report", "watch --once --json"} < set(
        told
    )
    assert all(
        line[which]["seconds"] > 0 < line[which]["megabytes"] for line in told.values() for which in ("young", "old")
    )
