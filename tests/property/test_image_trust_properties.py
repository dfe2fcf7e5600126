"""Whatever lies among the sub-elements, judging it ends in a verdict, and the hub's reader and a device's agree."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.crypto.ecqv import Credentials, Suite
from chf.eui64 import Eui64
from chf.image.checks import zigbee_checks
from chf.image.element import SubElement
from chf.image.header import OtaHeader
from chf.image.image import parse_image
from chf.image.zigbee_signature import (
    authority_from_text,
    integrity_element,
    sealed_bytes,
    seeded_credentials,
    signature_elements,
)
from devices.nodes.image_check import check_trusted
from devices.nodes.settings import ImageTrust
from devices.wire.ota_file import BadImageError

SIGNER, ISSUER = Eui64(0x51), Eui64(0xCA)
LENGTHS = {1: 50, 2: 48, 3: 16, 5: 80, 6: 74}


def plausible(tag: int) -> st.SearchStrategy[SubElement]:
    """Of the right length, most of the time."""
    size = LENGTHS.get(tag, 4)
    return st.builds(SubElement, st.just(tag), st.binary(max_size=8) | st.binary(min_size=size, max_size=size))


elements = st.lists(st.sampled_from([1, 2, 3, 5, 6, 0xF000]).flatmap(plausible), max_size=4)
suites = st.sampled_from(list(Suite))


@cache
def credentials_of(suite: Suite) -> Credentials:
    return seeded_credentials(suite, "seed", ISSUER, SIGNER)


def in_a_file(suite: Suite, parts: list[SubElement], *, code: bool, signed: bool) -> bytes:
    body = b"".join(each.to_bytes() for each in [SubElement(0, b"firmware"), *parts])
    credentials = credentials_of(suite)
    size = len(body) + (len(integrity_element(b"")) if code else 0)
    size += sealed_bytes(suite, integrity_code=False) if signed else 0
    content = OtaHeader(0xFFF0, 1, 2, bytes(32), 56 + size).to_bytes() + body
    content += integrity_element(content) if code else b""
    return content + (signature_elements(content, credentials) if signed else b"")


def device_takes(content: bytes, trust: ImageTrust) -> bool:
    try:
        check_trusted(content, 56, trust, None)
    except BadImageError:
        return False
    return True


@settings(derandomize=True, max_examples=60, deadline=None)
@given(suites, elements, st.booleans(), st.booleans())
def test_hub_and_device_agree_on_every_file(suite, parts, code, signed):
    content = in_a_file(suite, parts, code=code, signed=signed)
    ca_public_key = credentials_of(suite).ca_public_key
    checks = list(zigbee_checks(parse_image(content), authority_from_text(ca_public_key.hex())))
    trust = ImageTrust(suite, ca_public_key, (SIGNER,))
    assert device_takes(content, trust) is all(check.passed for check in checks)
    if not parts:
        assert device_takes(content, trust) is signed
