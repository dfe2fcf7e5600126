"""The options that name a dongle, and the radio that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chf.radio.ezsp import EzspRadio

KINDS = ("ezsp",)


@dataclass(frozen=True, slots=True)
class Dongle:
    kind: str
    port: str
    baudrate: int
    flow_control: str | None
    channel: int | None

    def on(self, port: str) -> "EzspRadio":
        return replace(self, port=port).open()

    def open(self) -> "EzspRadio":
        from chf.radio.ezsp import EzspRadio, EzspSettings  # noqa: PLC0415 bellows is slow to import

        return EzspRadio(
            EzspSettings(self.port, self.baudrate, self.flow_control, self.channel)  # type: ignore[arg-type]
        )


def dongle_options(*, port: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options and hands them to the command as one `dongle`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_dongle(
            *, radio_kind: str, baudrate: int, flow_control: str | None, channel: int, **others: Any
        ) -> Any:
            chosen = others.pop("dongle_port", "")
            return command(
                dongle=Dongle(radio_kind, chosen, baudrate, flow_control, channel or None),
                **others,
            )

        options = [
            click.option(
                "--radio", "radio_kind", type=click.Choice(KINDS), default="ezsp", show_default=True, help="Its kind."
            ),
            click.option("--baudrate", type=click.IntRange(min=1200), default=115_200, show_default=True),
            click.option(
                "--flow-control",
                type=click.Choice(["software", "hardware"]),
                help="As the dongle's firmware wants it (hw-setup.md has a table); software without this option.",
            ),
            click.option(
                "--channel",
                type=click.IntRange(0, 26),
                default=15,
                show_default=True,
                help="11 to 26, of a network that is formed; 0 looks for a quiet one.",
            ),
        ]
        if port:
            options.append(
                click.option(
                    "--port",
                    "dongle_port",
                    required=True,
                    help="/dev/serial/by-id/... or tcp://host:port.",
                )
            )
        wrapped: Callable[..., Any] = with_dongle
        for option in options:
            wrapped = option(wrapped)
        return wrapped

    return decorate
