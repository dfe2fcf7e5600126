"""What the commands about images share: options, and reading image files up to a limit."""

import sys
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from chf.errors import UsageError
from chf.image.image import DEFAULT_LIMIT_BYTES, FirmwareImage, ImageKind, parse_image, too_large

if TYPE_CHECKING:
    from chf.image.signature import Signer
    from chf.image.zigbee_signature import ZigbeeAuthority

STANDARD_INPUT = Path("-")
_PEM_LIMIT_BYTES = 1 << 16


class HexParameter(click.ParamType[int]):
    """A number in hex, with or without 0x, as file versions are written everywhere."""

    name = "hex"

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).lower().removeprefix("0x")
        if not 0 < len(text) <= self.digits or set(text) - set("0123456789abcdef"):
            self.fail(f"{str(value)[:40]!r} is not up to {self.digits} hex digits", param, ctx)
        return int(text, 16)


class DigestParameter(click.ParamType[str]):
    name = "sha-256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).lower()
        if len(text) != 64 or set(text) - set("0123456789abcdef"):
            self.fail(f"{str(value)[:80]!r} is not a SHA-256: 64 hex digits", param, ctx)
        return text


class KindParameter(click.ParamType[ImageKind]):
    name = "kind"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "|".join(kind.value for kind in ImageKind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ImageKind:
        try:
            return ImageKind(str(value))
        except ValueError:
            self.fail(f"{str(value)[:40]!r} is none of {', '.join(kind.value for kind in ImageKind)}", param, ctx)


IMAGE_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
kind_option = click.option("--kind", type=KindParameter(), help="Read the file as this kind, whatever it looks like.")
limit_option = click.option(
    "--limit",
    "limit_bytes",
    type=click.IntRange(min=1),
    default=DEFAULT_LIMIT_BYTES,
    show_default=True,
    metavar="BYTES",
    help="The largest file to accept.",
)
certificate_option = click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The supplier's certificate or public key (PEM) that the signature is checked against.",
)

zigbee_ca_option = click.option(
    "--zigbee-ca",
    metavar="FILE|HEX",
    help="The public key of the ZigBee CA that the signature of a standard file is checked under.",
)


def load_signer(certificate: Path | None) -> "Signer | None":
    """Who should have signed: None where nobody is named. Raises UsageError for what is no certificate or key."""
    from chf.image.signature import signer_from_certificate

    return None if certificate is None else signer_from_certificate(read_at_most(certificate, _PEM_LIMIT_BYTES))


def load_zigbee_authority(given: str | None) -> "ZigbeeAuthority | None":
    """From hex digits, or from a file that holds them. None where no CA is named. Raises UsageError."""
    from chf.image.zigbee_signature import authority_from_text

    if given is None:
        return None
    if given and not set(given) - set(hexdigits):
        return authority_from_text(given)
    return authority_from_text(read_at_most(Path(given), _PEM_LIMIT_BYTES).decode("ascii", "replace"))


def load_image(path: Path, *, kind: ImageKind | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> FirmwareImage:
    """The image in a file, or on standard input for `-`. Raises MalformedImageError and UsageError."""
    content = read_at_most(path, limit_bytes + 1)
    if len(content) > limit_bytes:
        raise too_large(limit_bytes)
    return parse_image(content, kind=kind, limit_bytes=limit_bytes)


def read_at_most(path: Path, size_bytes: int) -> bytes:
    """The first `size_bytes` of a file or of standard input. Raises UsageError where it cannot be read."""
    if path == STANDARD_INPUT:
        return _read(sys.stdin.buffer, size_bytes)
    try:
        with path.open("rb") as stream:
            return _read(stream, size_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {str(path)!r}: {reason}") from None


def _read(stream: BinaryIO, size_bytes: int) -> bytes:
    parts: list[bytes] = []
    while size_bytes > 0 and (part := stream.read(min(size_bytes, 1 << 16))):
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)
