"""`chf dcc serve`: the DCC side as a service, beside a hub or without one; they meet in the store.

And the options by which requests are judged, which `chf dcc submit` and `chf run --dcc` take as well.
"""

import asyncio
import json
import logging
import signal
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from chf.cli.dcc.pki import open_pki
from chf.cli.options import HostPort, home_option, outlive_terminal, talk
from chf.dcc.gateway import is_loopback
from chf.dcc.settings import DccSettings
from chf.dcc.side import DccSide
from chf.dcc.signers import NOBODY, SignaturePolicy, Signers
from chf.duis.schema import DuisSchema
from chf.errors import UsageError
from chf.files import read_secret


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What was said on the command line."""

    config: Path | None = None
    signers: Path | None = None
    signatures: str | None = None
    duis_xsd: Path | None = None

    def load(self) -> tuple[DccSettings, Signers, DuisSchema | None]:
        """Raises UsageError that names the file."""
        settings = DccSettings() if self.config is None else DccSettings.load(self.config)
        schema = None if self.duis_xsd is None else _load_schema(self.duis_xsd)
        return settings, self._signers(), schema

    def _signers(self) -> Signers:
        if self.signers is None:
            if self.signatures == SignaturePolicy.REQUIRE:
                raise UsageError(
                    "--signatures require wants --signers too: it names the certificates that are accepted"
                )
            return NOBODY
        signers = Signers.load(self.signers, SignaturePolicy(self.signatures or SignaturePolicy.REQUIRE))
        for reason in signers.unusable:
            talk(f"passed over: {reason}")
        return signers


_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "config": {
        "type": click.Path(dir_okay=False, path_type=Path),
        "help": "TOML: users, their addresses, policy, delivery (docs/dcc.md).",
    },
    "signers": {
        "type": click.Path(file_okay=False, exists=True, path_type=Path),
        "help": "Certificates with which requests may be signed.",
    },
    "signatures": {
        "type": click.Choice([policy.value for policy in SignaturePolicy]),
        "help": "What to do without a known signature. Default: require with signers, else accept.",
    },
    "duis-xsd": {
        "type": click.Path(exists=True, dir_okay=False, path_type=Path),
        "help": "Validate against this DUIS schema first; the schemas that it imports lie beside it.",
    },
}


def intake_options(prefix: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives the command an IntakeRules as `rules`; with a prefix, the options are called `--PREFIX-config`..."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            found = {name: given.pop(_parameter(prefix, name)) for name in _OPTIONS}
            rules = IntakeRules(found["config"], found["signers"], found["signatures"], found["duis-xsd"])
            command(rules=rules, **given)

        decorated: Callable[..., None] = run
        for name, how in reversed(list(_OPTIONS.items())):
            decorated = click.option(f"--{prefix}{name}", _parameter(prefix, name), **how)(decorated)
        return decorated

    return decorate


def _parameter(prefix: str, name: str) -> str:
    return f"{prefix}{name}".replace("-", "_")


def _load_schema(path: Path) -> DuisSchema:
    files = {sibling.name: sibling.read_bytes() for sibling in path.parent.glob("*.xsd")}
    return DuisSchema(files, path.name)


_PEM: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def tls_context(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    """None where no certificate is given. Raises UsageError that names the file."""
    if certificate is None or key is None:
        if certificate is not None or key is not None or client_ca is not None:
            raise UsageError("TLS wants both --tls-certificate and --tls-key")
        return None
    read_secret(key)  # which refuses one that others may read
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"{certificate} and {key} are no certificate and its key: {error}") from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{client_ca} holds no certificates: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@click.command()
@click.option("--listen", type=HostPort(), default="127.0.0.1:8079", show_default=True, help="Port 0 takes a free one.")
@click.option("--receive-url", help="Where later answers and alerts are posted. Default: they stay queued.")
@intake_options()
@click.option("--tls-certificate", type=_PEM, help="PEM: the certificate of this server, and what it was issued under.")
@click.option("--tls-key", type=_PEM, help="PEM: the private key of that certificate, readable by its owner alone.")
@click.option("--tls-client-ca", type=_PEM, help="PEM: clients show a certificate that one of these issued.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without knowing who the clients are.")
@click.option("--verbose", is_flag=True, help="Say what was asked and answered.")
@home_option
def serve(
    *,
    listen: tuple[str, int],
    receive_url: str | None,
    rules: IntakeRules,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    insecure: bool,
    verbose: bool,
    home: Path,
) -> None:
    """Take service requests by HTTP, and post answers and alerts to the users' addresses, until Ctrl-C.

    Prints one JSON line with its address when it is ready.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(asctime)s %(message)s")
    settings, signers, schema = rules.load()
    settings = settings.with_receive_url(receive_url)
    tls = tls_context(tls_certificate, tls_key, tls_client_ca)
    if not insecure and tls_client_ca is None and not is_loopback(listen[0]):
        raise UsageError(
            f"whoever reaches {listen[0]}:{listen[1]} could send requests: add --tls-certificate, --tls-key and"
            " --tls-client-ca, or --insecure where the network itself is closed"
        )
    asyncio.run(_until_stopped(DccSide(home, open_pki(home), listen, settings, signers, schema, tls), home))
    talk("stopped")


async def _until_stopped(side: DccSide, home: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    outlive_terminal(home / "dcc.log")
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await side.run(stop, lambda address: click.echo(json.dumps({"schema": 1, "listening": address})))
