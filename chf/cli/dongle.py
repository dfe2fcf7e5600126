"""The options that name a dongle, and the radio that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import click

from chf.errors import RadioGoneError, RadioRefusedError, RefusedError
from chf.store.lock import hub_pid

if TYPE_CHECKING:
    from chf.radio.interface import Radio
    from chf.radio.link import FlowControl

KINDS = ("ezsp", "znp")

PORT_NOTE = "radio port"
"""Under this key the store's meta table tells which port the hub was last started on."""


@dataclass(frozen=True, slots=True)
class Dongle:
    """`kind` is one of KINDS, or None where the dongle is to be asked (`recognised`)."""

    kind: str | None
    port: str
    baudrate: int
    flow_control: "FlowControl | None"
    channel: int | None

    def on(self, port: str) -> "Dongle":
        return replace(self, port=port)

    def open(self) -> "Radio":
        """A radio of its kind; the port is opened when it is asked something."""
        match self.kind:
            case "znp":
                from chf.radio.znp import ZnpRadio, ZnpSettings  # zigpy-znp is slow to import

                return ZnpRadio(ZnpSettings(self.port, self.baudrate, self.flow_control, self.channel))
            case _:
                from chf.radio.ezsp import EzspRadio, EzspSettings  # so is bellows

                return EzspRadio(EzspSettings(self.port, self.baudrate, self.flow_control, self.channel))

    async def recognised(self) -> "Dongle":
        """With its kind, by what it answers. Raises RadioGoneError where that is nothing that a hub can use."""
        if self.kind is not None:
            return self
        from chf.radio.detect import Answer, who_answers  # the serial library is slow to import
        from chf.radio.link import DongleSettings
        from chf.radio.ports import on_a_network

        remote = on_a_network(self.port)
        answer = await who_answers(DongleSettings(self.port, self.baudrate, self.flow_control))
        match answer:
            case Answer.EZSP | Answer.ZNP:
                return replace(self, kind=answer.value)
            case Answer.GECKO_BOOTLOADER | Answer.TI_BOOTLOADER:
                raise RadioRefusedError(
                    f"a {answer.value} answers at {self.port}: replug the dongle, and where that does not help, flash"
                    " its firmware again (hw-setup.md)"
                )
            case Answer.SOMETHING_ELSE:
                or_else = "the adapter is not in raw mode" if remote else f"the baud rate is not {self.baudrate}"
                raise RadioGoneError(f"{answer.value} talks at {self.port}; or {or_else}")
            case Answer.NOTHING if remote:
                raise RadioGoneError(
                    f"nothing answers at {self.port}, neither EZSP nor Z-Stack nor a bootloader: is the adapter in raw"
                    " mode (not telnet), at the firmware's baud rate, with no other client and no access list?"
                )
            case Answer.NOTHING:
                raise RadioGoneError(
                    f"nothing answers at {self.port} at {self.baudrate} baud, neither EZSP nor Z-Stack nor a"
                    " bootloader: try the other --flow-control, and see hw-setup.md, section 7"
                )
            case _:
                assert_never(answer)


def hub_at(home: Path, port: str) -> int | None:
    """The process of the hub on this home that has this port, under whatever name.

    Such a dongle is not to be asked: a second connection takes it away from the hub, and a question resets it.
    """
    pid = hub_pid(home)
    if pid is None:
        return None
    from chf.store import Store  # slow to import

    with Store.open(home) as store:
        its = store.meta.get(PORT_NOTE)
    return pid if its is not None and _same_port(its, port) else None


def leave_to_hub(home: Path, port: str) -> None:
    """Raise RefusedError where a running hub has this port."""
    pid = hub_at(home, port)
    if pid is not None:
        raise RefusedError(
            f"a hub (process {pid}) has the dongle at {port}: `chf radio info` tells what it knows; stop it first for"
            " anything else"
        )


def _same_port(one: str, other: str) -> bool:
    return one == other or ("://" not in one + other and Path(one).resolve() == Path(other).resolve())


def dongle_options(
    *, port: bool, kind_may_be_asked: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options and hands them to the command as one `dongle`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_dongle(
            *, radio_kind: str | None, baudrate: int, flow_control: "FlowControl | None", channel: int, **others: Any
        ) -> Any:
            chosen = others.pop("dongle_port", "")
            return command(dongle=Dongle(radio_kind, chosen, baudrate, flow_control, channel or None), **others)

        options = [
            click.option(
                "--radio",
                "radio_kind",
                type=click.Choice(KINDS),
                default=None if kind_may_be_asked else KINDS[0],
                show_default="by what it answers" if kind_may_be_asked else True,
                help="Its kind.",
            ),
            click.option("--baudrate", type=click.IntRange(min=1200), default=115_200, show_default=True),
            click.option(
                "--flow-control",
                type=click.Choice(["software", "hardware"]),
                help="As the dongle's firmware wants it (hw-setup.md has a table); without this option the usual.",
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
                click.option("--port", "dongle_port", required=True, help="/dev/serial/by-id/... or tcp://host:port.")
            )
        wrapped: Callable[..., Any] = with_dongle
        for option in options:
            wrapped = option(wrapped)
        return wrapped

    return decorate
