"""What a [[device]] holds of the ZigBee PKI: its own `credentials`, and the CA and signers that its images need."""

from pathlib import Path

from chf.crypto.binary_curve import InvalidPointError
from chf.crypto.credentials_text import parse_credentials
from chf.crypto.ecqv import Credentials, Suite
from chf.errors import MalformedError
from devices.bench.toml_section import Section
from devices.nodes.settings import ImageTrust

_KEY = "credentials"
_IMAGE_CA, _IMAGE_SIGNERS = "image_ca", "image_signers"
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


def read_image_trust(section: Section) -> ImageTrust | None:
    """None where neither key is there: images of whoever signed them, or nobody, will do."""
    digits = section.text(_IMAGE_CA, "")
    if not digits:
        if section.has(_IMAGE_SIGNERS):
            raise section.error(_IMAGE_SIGNERS, f"cannot be verified without {_IMAGE_CA}: add it")
        return None
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        raise section.error(_IMAGE_CA, "is the CA's public key in hex digits") from None
    for suite in Suite:
        if len(key) == suite.point_octets:
            try:
                suite.curve.decompress(key)
            except InvalidPointError as error:
                raise section.error(_IMAGE_CA, f"is no public key: {error}") from None
            return ImageTrust(suite, key, section.eui64s(_IMAGE_SIGNERS))
    lengths = " or ".join(str(suite.point_octets) for suite in Suite)
    raise section.error(_IMAGE_CA, f"has {lengths} octets (suite 1 or 2), not {len(key)}")


def _load(section: Section, name: str) -> Credentials:
    path = section.path.parent / Path(name)
    try:
        return parse_credentials(path.read_text(encoding="ascii"))
    except OSError as error:
        raise section.error(_KEY, f"{path} cannot be read: {error.strerror}") from None
    except (MalformedError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, MalformedError) else "it is not text"
        raise section.error(_KEY, f"{path} holds no credentials: {reason}") from None
