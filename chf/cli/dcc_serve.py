"""`chf dcc serve`: the DCC side as a service, beside a hub or without one; they meet in the store."""

import asyncio
import json
import logging
import signal
from contextlib import suppress
from pathlib import Path

import click

from chf.cli.dcc_intake import IntakeRules, intake_options
from chf.cli.options import home_option, talk
from chf.cli.run import open_pki
from chf.clock import Clock, SystemClock
from chf.dcc.conversion import Conversion
from chf.dcc.delivery import Delivery
from chf.dcc.desk import Desk
from chf.dcc.gateway import Gateway, is_loopback
from chf.dcc.seal import Seal
from chf.errors import StoreError, UsageError
from chf.store import Store

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2  # how soon what the hub wrote is passed on


class HostPort(click.ParamType[tuple[str, int]]):
    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        host, _, port = str(value).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
            self.fail(f"{str(value)[:80]!r} is not an address such as 127.0.0.1:8079", param, ctx)
        return host.strip("[]"), int(port)


@click.command()
@click.option("--listen", type=HostPort(), default="127.0.0.1:8079", show_default=True, help="Port 0 takes a free one.")
@click.option("--receive-url", help="Where later answers and alerts are posted. Default: they stay queued.")
@intake_options
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
    clock = SystemClock()
    with Store.open(home) as store:
        desk = Desk(store, pki, settings, signers=signers, schema=schema)
        conversion = Conversion(store, pki, Seal(pki), settings.policy)
        delivery = Delivery(store, settings, clock)
        asyncio.run(_until_stopped(desk, conversion, delivery, clock, listen))
    talk("stopped")


async def _until_stopped(
    desk: Desk, conversion: Conversion, delivery: Delivery, clock: Clock, listen: tuple[str, int]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Gateway(desk, clock).listening(*listen) as (host, port):
        click.echo(json.dumps({"schema": 1, "listening": f"http://{host}:{port}/api/v1"}))
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(delivery.run()), tasks.create_task(_convert(conversion, clock))]
                await stop.wait()
                for task in running:
                    task.cancel()


async def _convert(conversion: Conversion, clock: Clock) -> None:
    while True:
        try:
            more = conversion.run(clock.now())
        except (StoreError, UsageError) as error:  # the same rows are there the next time
            _LOG.error("alerts wait: %s", error)
            more = 0
        await asyncio.sleep(0 if more else _POLL_S)
