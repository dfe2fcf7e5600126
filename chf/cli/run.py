"""`chf run`: the hub on a dongle, in the foreground."""

import asyncio
import logging
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from chf.cli.dcc.pki import open_pki
from chf.cli.dcc.serve import IntakeRules, intake_options
from chf.cli.dongle import PORT_NOTE, Dongle, dongle_options
from chf.cli.options import HostPort, home_option, outlive_terminal, talk
from chf.clock import SystemClock, isoformat
from chf.dcc.gateway import is_loopback
from chf.dcc.side import DccSide, in_a_thread
from chf.errors import UsageError
from chf.eui64 import format_eui64
from chf.hub import Hub, HubSettings
from chf.radio.interface import RadioInfo
from chf.store import Store
from chf.trace import Event
from chf.view import printable


@click.command()
@dongle_options(port=True)
@click.option("--form/--no-form", default=True, show_default=True, help="Form a network where the dongle has none.")
@click.option(
    "--adopt-network",
    is_flag=True,
    help="Take the dongle's network for this home's, or form one, although the home's devices are on another.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with [security], [ota] and the like (docs/settings.md).",
)
@click.option(
    "--dcc",
    type=HostPort(),
    help="Run the DCC side as well, at this address: what `chf dcc serve` does, in this process.",
)
@click.option("--dcc-receive-url", help="Where the DCC side posts later answers and alerts. Default: they stay queued.")
@intake_options(prefix="dcc-")
@click.option("--debug", is_flag=True, help="Also what the libraries log. Large: for a bug report, never for speed.")
@home_option
def run(
    *,
    dongle: Dongle,
    form: bool,
    adopt_network: bool,
    config: Path | None,
    dcc: tuple[str, int] | None,
    dcc_receive_url: str | None,
    rules: IntakeRules,
    debug: bool,
    home: Path,
) -> None:
    """Run the hub on a dongle until Ctrl-C. Every other command finds it through the home directory."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(asctime)s %(name)s: %(message)s")
    settings = HubSettings() if config is None else HubSettings.load(config)
    if dcc is None and (dcc_receive_url is not None or rules != IntakeRules()):
        raise UsageError("the --dcc-... options want --dcc HOST:PORT")
    if dcc is not None and not is_loopback(dcc[0]):
        raise UsageError(f"--dcc is for this machine: for {dcc[0]}, run `chf dcc serve`, which has TLS, beside the hub")
    with Store.open(home, hub=True) as store, ExitStack() as beside:
        with store.transaction() as tx:
            tx.meta.set(PORT_NOTE, dongle.port)
        pki = open_pki(home)
        hub = Hub(store, dongle.open(), pki, SystemClock(), settings, say)
        if dcc is not None:
            dcc_settings, signers, schema = rules.load()
            side = DccSide(home, pki, dcc, dcc_settings.with_receive_url(dcc_receive_url), signers, schema)
            talk(f"the DCC side listens at {beside.enter_context(in_a_thread(side))}")
        asyncio.run(serve(hub, home, form=form, adopt=adopt_network))


async def serve(hub: Hub, home: Path, *, form: bool, adopt: bool) -> None:
    """Run the hub until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    outlive_terminal(home / "hub.log")
    task = asyncio.ensure_future(hub.run(form=form, adopt=adopt, ready=_ready))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel, number.name)
    try:
        await task
    except asyncio.CancelledError:
        talk("stopped")


def _ready(info: RadioInfo) -> None:
    network = info.network
    where = "" if network is None else f", channel {network.channel}, PAN id 0x{network.pan_id:04X}"
    talk(f"the hub is up: {info.kind} {info.firmware} (protocol {info.protocol_version}){where}")


def say(event: Event) -> None:
    """One event as a line for a person."""
    parts = [isoformat(event.utc), event.kind.value]
    if event.device is not None:
        parts.append(format_eui64(event.device))
    if event.update is not None:
        parts.append(f"update {event.update}")
    parts += [f"{name}={value}" for name, value in event.fields.items() if value not in ("", None)]
    with suppress(OSError):  # a terminal that is gone; the event is in the store
        talk(printable(" ".join(str(part) for part in parts)))
