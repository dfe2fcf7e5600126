"""How requests are judged: the options that `chf dcc serve` and `chf dcc submit` share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from chf.dcc.settings import DccSettings
from chf.dcc.signers import NOBODY, SignaturePolicy, Signers
from chf.duis.schema import DuisSchema
from chf.errors import UsageError


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What was said on the command line."""

    config: Path | None
    signers: Path | None
    signatures: str | None
    duis_xsd: Path | None

    def load(self) -> tuple[DccSettings, Signers, DuisSchema | None]:
        """Raises UsageError that names the file."""
        settings = DccSettings() if self.config is None else DccSettings.load(self.config)
        schema = None if self.duis_xsd is None else _load_schema(self.duis_xsd)
        return settings, self._signers(), schema

    def _signers(self) -> Signers:
        if self.signers is None:
            if self.signatures == SignaturePolicy.REQUIRE:
                raise UsageError("--signatures require wants --signers: whose signatures would count?")
            return NOBODY
        return Signers.load(self.signers, SignaturePolicy(self.signatures or SignaturePolicy.REQUIRE))


_OPTIONS = (
    click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="TOML: users, their addresses, policy, delivery (docs/dcc.md).",
    ),
    click.option(
        "--signers",
        type=click.Path(file_okay=False, exists=True, path_type=Path),
        help="Certificates with which requests may be signed.",
    ),
    click.option(
        "--signatures",
        type=click.Choice([policy.value for policy in SignaturePolicy]),
        help="What to do without a known signature. Default: require with --signers, else accept.",
    ),
    click.option(
        "--duis-xsd",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Validate against this DUIS schema first; the schemas that it imports lie beside it.",
    ),
)


def intake_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command an IntakeRules as `rules`."""

    @wraps(command)
    def run(
        *, config: Path | None, signers: Path | None, signatures: str | None, duis_xsd: Path | None, **others: Any
    ) -> None:
        command(rules=IntakeRules(config, signers, signatures, duis_xsd), **others)

    decorated: Callable[..., None] = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _load_schema(path: Path) -> DuisSchema:
    files = {sibling.name: sibling.read_bytes() for sibling in path.parent.glob("*.xsd")}
    return DuisSchema(files, path.name)
