"""`python -m devices` with a stopwatch between its dongle's stack and co-processor: `--block-times FILE` in front."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from throughput.block_times import BlockTimes

from devices.__main__ import main
from devices.bench import serve, world
from devices.bench.runner import Runner


def watch(path: Path, clock: Callable[[], float] = time.perf_counter) -> BlockTimes:
    """From now on the bench builds watched stacks and lines."""
    times = BlockTimes(path, clock)

    def watched_runner(loop: Any, queue: Any, dongle: Any, *rest: Any) -> Runner:
        return Runner(loop, queue, times.on_the_line(dongle), *rest)

    world.ZigbeeCoordinator = times.coordinator
    serve.Runner = watched_runner
    return times


def run(name: str) -> None:
    _, option, path, *arguments = sys.argv
    assert option == "--block-times", "the first option is --block-times FILE"
    sys.argv[1:] = arguments
    times = watch(Path(path))
    try:
        main(prog_name=name)
    finally:
        times.write()


if __name__ == "__main__":
    run("python benchmarks/timed_devices.py")
