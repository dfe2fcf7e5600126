"""The ZigBee half of the test PKI: a CA for implicit certificates in each crypto suite, and what it issued.

    pki/zigbee/                    0700
        ca-suite1.key ca-suite2.key        private keys of the CAs, in hex; missing where the CA is somebody else's
        <eui64>-suite1.txt <eui64>-suite2.txt
                                   certificate, private key and CA key of the hub or a device, as Certicom lays it out

Every file is 0600, written once and never replaced, and never part of a message, an error or a repr. The subject of the
hub's certificate is the EUI-64 of its dongle, because devices insist on that.
"""

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chf.crypto.credentials_text import format_credentials, parse_credentials
from chf.crypto.ecqv import CertificateAuthority, Credentials, Suite, private_scalar
from chf.errors import MalformedError, RefusedError, UnusableFileError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.files import read_secret, write_new

TEST_ISSUER: Final = Eui64(int.from_bytes(b"CHF-TEST", "big"))
"""Our CA's identity in certificates."""

_RANDOM_BITS: Final = 512  # our choice: above the order of either curve

RandomSource = Callable[[str], int]
"""A number of 512 bits for a name such as `ca-suite2` or `00db1234567890a4-suite2 requester`."""


def fresh_numbers(name: str) -> int:
    del name
    return secrets.randbits(_RANDOM_BITS) | 1 << _RANDOM_BITS


def seeded_numbers(seed: bytes) -> RandomSource:
    """The same numbers for the same seed, for tests and repeatable demonstrations only."""

    def number(name: str) -> int:
        digest = hashlib.sha512(b"chf test zigbee pki\0" + seed + b"\0" + name.encode()).digest()
        return int.from_bytes(digest, "big") | 1 << _RANDOM_BITS

    return number


class ZigbeePki:
    """A directory, made when something is first put into it. Keeps nothing in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def issue(self, subject: Eui64, numbers: RandomSource = fresh_numbers) -> None:
        """Make the certificates of a device, or of the hub's dongle, in both suites. What exists stays as it is."""
        for suite in Suite:
            name = _name(subject, suite)
            if (self.path / name).exists():
                continue
            authority = self._authority(suite, numbers)
            serial = numbers(f"{name} serial") & 0x7FFF_FFFF_FFFF_FFFF
            credentials = authority.issue(subject, numbers(f"{name} requester"), numbers(f"{name} ca"), serial=serial)
            self._write_new(name, format_credentials(credentials))

    def add(self, text: str) -> Credentials:
        """Take in credentials of another CA. Raises MalformedError for what does not hold together."""
        credentials = parse_credentials(text)
        subject = Eui64(credentials.certificate.subject)
        name = _name(subject, credentials.suite)
        if not self._write_new(name, format_credentials(credentials)):
            if self.credentials(subject, credentials.suite) == credentials:
                return credentials
            raise RefusedError(
                f"other credentials of {format_eui64(subject)} (suite {_number(credentials.suite)}) are here already: "
                f"move {self.path / name} away first"
            )
        return credentials

    def credentials(self, subject: Eui64, suite: Suite) -> Credentials:
        """Raises UsageError where there are none, UnusableFileError where they are damaged, or others may read them."""
        path = self.file_of(subject, suite)
        try:
            credentials = parse_credentials(self._read(path))
        except FileNotFoundError:
            raise UsageError(
                f"there is no ZigBee certificate of {format_eui64(subject)} for suite {_number(suite)}: "
                f"`chf dcc pki issue {format_eui64(subject)}` makes one"
            ) from None
        except MalformedError as error:
            raise UnusableFileError(f"{path} is damaged: {error}: put the right file there, or move it away") from None
        if (credentials.certificate.subject, credentials.suite) != (subject, suite):
            raise UnusableFileError(f"{path} is the certificate of another device or suite")
        return credentials

    def held_by(self, subject: Eui64) -> dict[Suite, Credentials]:
        """In the suites in which there are any that can be used. Raises UsageError where there are none at all."""
        found: dict[Suite, Credentials] = {}
        failures: list[UsageError] = []
        for suite in Suite:
            try:
                found[suite] = self.credentials(subject, suite)
            except UsageError as error:
                failures.append(error)
        if not found:
            raise next((error for error in failures if isinstance(error, UnusableFileError)), failures[-1])
        return found

    def file_of(self, subject: Eui64, suite: Suite) -> Path:
        """Where the credentials are, or would be."""
        return self.path / _name(subject, suite)

    def subjects(self) -> tuple[tuple[Eui64, Suite], ...]:
        """Everybody who has credentials here."""
        found = []
        for path in sorted(self.path.glob("????????????????-suite?.txt")):
            digits, _, ending = path.stem.partition("-suite")
            found.append((Eui64(int(digits, 16)), Suite(int(ending))))
        return tuple(found)

    def _authority(self, suite: Suite, numbers: RandomSource) -> CertificateAuthority:
        name = f"ca-suite{_number(suite)}"
        key_file = self.path / f"{name}.key"
        if not key_file.exists():
            scalar = private_scalar(suite, numbers(name))
            self._write_new(key_file.name, f"{scalar:0{2 * suite.curve.scalar_octets}x}\n")
        try:
            private_key = int(self._read(key_file), 16)
        except ValueError:
            raise UnusableFileError(f"{key_file} is not a private key") from None
        return CertificateAuthority(suite, TEST_ISSUER, private_key)

    @staticmethod
    def _read(path: Path) -> str:
        return read_secret(path).decode("ascii", errors="replace")

    def _write_new(self, name: str, content: str) -> bool:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return write_new(self.path / name, content.encode("ascii"))


def _number(suite: Suite) -> int:
    return suite.value  # suites 1 and 2 have the bits 1 and 2


def _name(subject: Eui64, suite: Suite) -> str:
    return f"{subject:016x}-suite{_number(suite)}.txt"
