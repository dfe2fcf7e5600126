"""Medians, spreads and ratios of the runs: as a table for people, as JSON for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import median
from typing import Any

from throughput.run import Measurement

Runs = Mapping[str, Sequence[Measurement]]
"""By the peer's name, ours first."""

UART_BYTES_PER_S = 11_520  # 115,200 baud, 8N1
_COLUMNS = (
    ("blocks/s", "blocks_per_s", "{:.0f}"),
    ("host ms/block", "host_ms_per_block", "{:.2f}"),
    ("turnaround p50 ms", "turnaround_p50_ms", "{:.2f}"),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("max ms", "max_ms", "{:.1f}"),
    ("host CPU us/block", "host_cpu_us_per_block", "{:.0f}"),
    ("dongle CPU us/block", "dongle_cpu_us_per_block", "{:.0f}"),
    ("host peak MiB", "host_peak_mib", "{:.1f}"),
    ("line octets/block, from host", "line_octets_from_host", "{:.0f}"),
    ("to host", "line_octets_to_host", "{:.0f}"),
)


def summary(runs: Sequence[Measurement]) -> dict[str, dict[str, float]]:
    """Median, lowest and highest of each number."""
    result = {}
    for field in fields(Measurement):
        values = [getattr(run, field.name) for run in runs]
        result[field.name] = {
            "median": round(median(values), 3),
            "min": round(min(values), 3),
            "max": round(max(values), 3),
        }
    return result


def ratios(runs: Runs) -> dict[str, dict[str, float]]:
    """The medians of the first peer by those of each other: good are blocks/s above 1, and all else below 1."""
    ours, *others = runs
    return {
        other: {name: round(_median(runs[ours], name) / _median(runs[other], name), 3) for _, name, _ in _COLUMNS}
        for other in others
    }


def uart_limit_blocks_per_s(measured: Sequence[Measurement]) -> float:
    """What a serial line of 115,200 baud carries of this traffic at the most: calculated, for its fuller direction."""
    fuller = max(_median(measured, "line_octets_from_host"), _median(measured, "line_octets_to_host"))
    return UART_BYTES_PER_S / fuller


def as_json(runs: Runs) -> dict[str, Any]:
    return {
        "peers": {
            name: {
                "summary": summary(measured),
                "uart_115200_limit_blocks_per_s": round(uart_limit_blocks_per_s(measured), 1),
                "runs": [one.to_json() for one in measured],
            }
            for name, measured in runs.items()
        },
        "ratios": ratios(runs),
    }


def table(runs: Runs) -> str:
    """Markdown: the median, and the spread of the rates."""
    lines = [
        "| host | " + " | ".join(title for title, _, _ in _COLUMNS) + " | blocks/s, lowest to highest |",
        "|---|" + "---:|" * (len(_COLUMNS) + 1),
    ]
    for name, measured in runs.items():
        cells = [form.format(_median(measured, field)) for _, field, form in _COLUMNS]
        rates = [run.blocks_per_s for run in measured]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {min(rates):.0f} to {max(rates):.0f} |")
    ours = next(iter(runs))
    for other, factors in ratios(runs).items():
        cells = [f"{factors[field]:.2f}x" for _, field, _ in _COLUMNS]
        lines.append(f"| {ours} / {other} | " + " | ".join(cells) + " | |")
    limits = ", ".join(f"{uart_limit_blocks_per_s(measured):.0f} ({name})" for name, measured in runs.items())
    lines.append(
        f"\nCalculated from the octets: a line of 115,200 baud carries so many blocks/s at the most: {limits}."
    )
    for name, measured in runs.items():
        repeated = sum(run.repeated_requests for run in measured)
        if repeated:
            lines.append(
                f"\n{name}: {repeated} requests repeated for want of an answer; only host ms/block leaves them out."
            )
    return "\n".join(lines)


def _median(runs: Sequence[Measurement], name: str) -> float:
    return float(median(getattr(run, name) for run in runs))
