"""The `credentials` key of a [[device]]: the file with certificate, private key and CA key for key establishment."""

from pathlib import Path

from chf.crypto.credentials_text import parse_credentials
from chf.crypto.ecqv import Credentials
from chf.errors import MalformedError
from devices.bench.toml_section import Section

_KEY = "credentials"
_PLACEHOLDER = "{eui64}"


def read_credentials(section: Section, count: int) -> list[Credentials | None]:
    """One for each of `count` devices. In the path, `{eui64}` stands for the device's own, in 16 hex digits.

    Whether the certificate is that of the device is not judged: a device with somebody else's is worth emulating.
    """
    pattern = section.text(_KEY, "")
    if not pattern:
        return [None] * count
    if count > 1 and _PLACEHOLDER not in pattern:
        raise section.error(_KEY, f"would be the same for all {count} devices: write {_PLACEHOLDER} into the path")
    first = section.eui64("eui64")
    return [_load(section, pattern.replace(_PLACEHOLDER, f"{first + index:016x}")) for index in range(count)]


def _load(section: Section, name: str) -> Credentials:
    path = section.path.parent / Path(name)
    try:
        return parse_credentials(path.read_text(encoding="ascii"))
    except OSError as error:
        raise section.error(_KEY, f"{path} cannot be read: {error.strerror}") from None
    except (MalformedError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, MalformedError) else "it is not text"
        raise section.error(_KEY, f"{path} holds no credentials: {reason}") from None
