"""`chf gbcs`: decodes GBCS messages, from files, from standard input or from the command line."""

import sys
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ec

from chf.cli.options import json_option, print_json
from chf.errors import RefusedError, UsageError
from chf.gbcs import GbcsMessage, parse_payload, verify_signature
from chf.gbcs.describe import as_json as to_json
from chf.gbcs.describe import describe

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_HEX_LIMIT = 4 * 0x10000  # two digits an octet, and generous white space


@click.group()
def gbcs() -> None:
    """Read GBCS messages."""


@gbcs.command()
@click.argument("message", metavar="HEX|FILE|-")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check the signature against this certificate (PEM or DER).",
)
@json_option
def decode(message: str, certificate: Path | None, as_json: bool) -> None:
    """Explain one message: hex digits, a file of them or of the octets themselves, or - for stdin.

    Exit code 3 where the signature is not that of the certificate's key, or there is none.
    """
    decoded = GbcsMessage.from_bytes(read_octets(message))
    parse_payload(decoded)
    if certificate is not None and not decoded.signature:
        kind = "a pre-command, which its supplier is to sign" if decoded.signature is None else "unsigned"
        raise RefusedError(f"there is no signature to check against {certificate}: the message is {kind}")
    verdict = None if certificate is None else _verdict(decoded, certificate)
    if as_json:
        print_json({**to_json(decoded), **({} if verdict is None else {"signature_valid": verdict})})
    else:
        lines = describe(decoded)
        width = max(len(line.name) for line in lines)
        for line in lines:
            click.echo(f"{line.name.replace('_', ' '):{width}}  {line.value}")
    if verdict is False:
        raise RefusedError("the signature is not that of the certificate's key")
    if verdict and not as_json:
        click.echo(f"{'verified':{width}}  signed by the key of {certificate}")


def read_octets(text: str) -> bytes:
    """Octets from hex digits, a file of either, or stdin; white space and separators between digits are fine."""
    if text == "-":
        return _from_content(sys.stdin.buffer.read(_HEX_LIMIT + 1), "stdin")
    try:
        path = Path(text)
        if path.is_dir():
            raise UsageError(f"{text} is a directory" if text else "the argument is empty")
        if not path.exists():
            return _from_hex(text, "the argument", "is neither a file nor hex digits")
        with path.open("rb") as file:  # a pipe of the shell, <(...), is one too
            return _from_content(file.read(_HEX_LIMIT + 1), text)
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise UsageError(f"{text} cannot be read: {error.strerror}") from None
        return _from_hex(text, "the argument", "is neither a file nor hex digits")  # too long for a name, or with NUL


def _from_content(content: bytes, name: str) -> bytes:
    if len(content) > _HEX_LIMIT:
        raise UsageError(f"{name} is larger than any GBCS message")
    if content[:1] in (b"\xdf", b"\xdd"):
        return content
    return _from_hex(content.decode("ascii", "replace"), name, "holds neither a GBCS message nor hex digits")


def _from_hex(text: str, name: str, otherwise: str) -> bytes:
    digits = "".join(text.split()).replace(":", "").replace("-", "").removeprefix("0x").removeprefix("0X")
    if not digits:
        raise UsageError(f"{name} is empty")
    if not set(digits) <= _HEX_DIGITS:
        raise UsageError(f"{name} {otherwise}")
    if len(digits) % 2:
        raise UsageError(f"{name} has {len(digits)} hex digits, which is no even number: one is missing or too many")
    return bytes.fromhex(digits)


def _verdict(message: GbcsMessage, certificate: Path) -> bool:
    from chf.pki.certificates import load_certificates  # X.509 is loaded only where it is asked for

    key = load_certificates(certificate)[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UsageError(f"the key of {certificate} is not on an elliptic curve")
    return verify_signature(message, key)
