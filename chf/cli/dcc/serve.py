"""`chf dcc serve`: the DCC side as a service, beside a hub or without one; they meet in the store."""

import asyncio
import json
import logging
import signal
from pathlib import Path

import click

from chf.cli.dcc.intake import IntakeRules, intake_options
from chf.cli.options import HostPort, home_option, talk
from chf.cli.run import open_pki, outlive_terminal
from chf.dcc.gateway import is_loopback
from chf.dcc.side import DccSide


@click.command()
@click.option("--listen", type=HostPort(), default="127.0.0.1:8079", show_default=True, help="Port 0 takes a free one.")
@click.option("--receive-url", help="Where later answers and alerts are posted. Default: they stay queued.")
@intake_options()
@click.option("--verbose", is_flag=True, help="Say what was asked and answered.")
@home_option
def serve(
    *,
    listen: tuple[str, int],
    receive_url: str | None,
    rules: IntakeRules,
    verbose: bool,
    home: Path,
) -> None:
    """Take service requests by HTTP, and post answers and alerts to the users' addresses, until Ctrl-C.

    Prints one JSON line with its address when it is ready.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(asctime)s %(message)s")
    settings, signers, schema = rules.load()
    settings = settings.with_receive_url(receive_url)
    pki = open_pki(home)
    if not is_loopback(listen[0]):
        talk(f"listening beyond this machine, without TLS: whoever reaches {listen[0]}:{listen[1]} can send requests")
    asyncio.run(_until_stopped(DccSide(home, pki, listen, settings, signers, schema), home))
    talk("stopped")


async def _until_stopped(side: DccSide, home: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    outlive_terminal(home / "dcc.log")
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await side.run(stop, lambda address: click.echo(json.dumps({"schema": 1, "listening": address})))
