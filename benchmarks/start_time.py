"""How long `chf --help` takes: the start of the interpreter and of the command line, nothing else.

python benchmarks/start_time.py [--runs R]
"""

import argparse
import subprocess
import sys
import time
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    took_s = [_once() for _ in range(runs)]
    print(f"chf --help: median {median(took_s):.3f} s, {min(took_s):.3f} to {max(took_s):.3f} s in {runs} runs")


def _once() -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "chf.cli.main", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
