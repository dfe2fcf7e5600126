"""Credentials as text: the labelled lines in which Certicom hands out certificates, as the test PKI keeps them too.

    CA Public Key: 0207A445...
    Device Implicit Cert: 00 26 22 A5 ...
    Private Key Reconstruction Data: 0151CD...
    Device Public Key: 0202F4...                  may be left out; checked where it is there

Labels are known by their words, since the wording differs between issuers; a value may begin on the line after its
label, and run over several. The text is secret: no error repeats a part of it.
"""

import re
from typing import Final

from chf.crypto.binary_curve import InvalidPointError
from chf.crypto.ecqv import Certificate, Credentials, Suite
from chf.errors import MalformedError

_LABELS: Final = {
    "ca": re.compile(r"\bca\b.*\bpub", re.IGNORECASE),
    "public": re.compile(r"\bdevice\b.*\bpub", re.IGNORECASE),
    "certificate": re.compile(r"\bcert", re.IGNORECASE),
    "private": re.compile(r"\b(private|pvt|reconstruction)\b", re.IGNORECASE),
}
_HEX = re.compile(r"[0-9A-Fa-f\s:]*")
_NAMES: Final = {"ca": "CA's public key", "certificate": "implicit certificate", "private": "private key"}
_SUITES: Final = {suite.certificate_octets: suite for suite in Suite}


def parse_credentials(text: str) -> Credentials:
    """Raises MalformedError, also where key and certificate do not belong together under that CA."""
    values = _values(text)
    missing = [name for name in _NAMES if name not in values]
    if missing:
        raise MalformedError(f"no line is labelled as the {_NAMES[missing[0]]}")
    suite = _SUITES.get(len(values["certificate"]))
    if suite is None:
        lengths = " or ".join(str(length) for length in _SUITES)
        raise MalformedError(f"an implicit certificate has {lengths} octets, not {len(values['certificate'])}")
    certificate = Certificate.from_bytes(suite, values["certificate"])
    credentials = Credentials(certificate, int.from_bytes(values["private"], "big"), values["ca"])
    curve = suite.curve
    try:
        authority = curve.decompress(credentials.ca_public_key)
        public = curve.compress(certificate.public_key(authority))
        fits = credentials.fit_together() and values.get("public", public) == public
    except InvalidPointError as error:
        raise MalformedError(f"the credentials hold no proper point: {error}") from None
    if not fits:
        raise MalformedError("private key, certificate and CA key do not belong together")
    return credentials


def format_credentials(credentials: Credentials) -> str:
    """Holds the private key: for files of mode 0600 only."""
    private = credentials.private_key.to_bytes(credentials.suite.curve.scalar_octets, "big")
    return (
        f"CA Public Key: {credentials.ca_public_key.hex()}\n"
        f"Device Implicit Cert: {credentials.certificate.octets.hex()}\n"
        f"Private Key Reconstruction Data: {private.hex()}\n"
    )


def _values(text: str) -> dict[str, bytes]:
    digits: dict[str, str] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        label, colon, value = line.partition(":")
        if colon and not _HEX.fullmatch(label):
            current = next((name for name, pattern in _LABELS.items() if pattern.search(label)), "")
            if current in digits:
                raise MalformedError(f"line {number} gives the {current} a second time")
        else:
            value = line
        if not current:
            continue
        if not _HEX.fullmatch(value):
            raise MalformedError(f"line {number} is not hex digits")
        digits[current] = digits.get(current, "") + re.sub(r"[\s:]", "", value)
    try:
        return {name: bytes.fromhex(value) for name, value in digits.items() if value}
    except ValueError:
        raise MalformedError("a value has an odd number of hex digits") from None
