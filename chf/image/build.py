"""Builds the file that a recipe describes: the same bytes from the same recipe, on any machine and at any time.

Opens no file: what a recipe names is asked of `read`. Does not check what it built: read it back with `parse_image`.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import shake_256
from typing import TYPE_CHECKING, assert_never

from chf.crypto import p256
from chf.errors import UsageError
from chf.image.element import UPGRADE_IMAGE, SubElement
from chf.image.header import OtaHeader
from chf.image.image import SIGNATURE_BYTES, FirmwareImage, ImageKind
from chf.image.recipe import Fault, FilePayload, PatternPayload, Payload, Recipe, SeededPayload, SignatureRecipe
from chf.image.signature import key_from_pem, key_from_seed
from chf.image.zigbee_signature import integrity_element, sealed_bytes, seeded_credentials, signature_elements

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from chf.crypto.ecqv import Credentials

MAX_PAYLOAD_BYTES = 10_240_000  # DUIS XSD, FirmwareImage: what no service request can carry is not worth building


def build_image(recipe: Recipe, read: Callable[[str], bytes]) -> bytes:
    """The file of `recipe`, damage included. Raises UsageError, and what `read` raises."""
    payload = _payload(recipe.payload, read)
    if recipe.signature is not None:
        body = payload + _signed_tail(payload, recipe.signature, read)
    elif recipe.kind is ImageKind.STANDARD:
        elements = [SubElement(UPGRADE_IMAGE, payload)]
        elements += [SubElement(each.tag, _payload(each.payload, read)) for each in recipe.sub_elements]
        body = b"".join(element.to_bytes() for element in elements)
    else:
        body = payload
    header = OtaHeader(
        manufacturer_code=recipe.manufacturer_code,
        image_type=recipe.image_type,
        file_version=recipe.file_version,
        header_string=recipe.header_string,
        total_image_size=0,
        stack_version=recipe.stack_version,
        security_credential_version=recipe.security_credential_version,
        destination=recipe.destination,
        hardware_versions=recipe.hardware_versions,
    )
    credentials = _zigbee_credentials(recipe)
    suite = None if credentials is None else credentials.suite
    body_bytes = len(body) + sealed_bytes(suite, integrity_code=recipe.integrity_code)
    header = replace(header, total_image_size=header.length_bytes + body_bytes)
    content = header.to_bytes() + body
    if recipe.integrity_code:
        content += integrity_element(content)
    if credentials is not None:
        content += signature_elements(content, credentials)
    return content if recipe.fault is None else _damage(content, recipe.fault)


def suggested_file_name(image: FirmwareImage) -> str:
    """`MMMM-TTTT-VVVVVVVV-text.zigbee` (ZigBee OTA 6.3.8), the text being what is safe of the header string."""
    header = image.header
    words = re.findall(rb"[A-Za-z0-9.]+", header.header_string)
    text = b"-".join(words).strip(b".-").decode("ascii")
    codes = f"{header.manufacturer_code:04X}-{header.image_type:04X}-{header.file_version:08X}"
    return f"{codes}-{text or image.manufacturer_image_hash[:16]}.zigbee"


def _payload(payload: Payload, read: Callable[[str], bytes]) -> bytes:
    match payload:
        case FilePayload(path):
            return read(path)
        case PatternPayload(pattern, size):
            _check_size(size)
            return (pattern * (size // len(pattern) + 1))[:size]
        case SeededPayload(seed, size):
            _check_size(size)
            return shake_256(seed.encode()).digest(size)
        case _:
            assert_never(payload)


def _check_size(size: int) -> None:
    if size > MAX_PAYLOAD_BYTES:
        raise UsageError(f"recipe: a payload of {size} bytes is above the limit of {MAX_PAYLOAD_BYTES}")


def signing_key(recipe: SignatureRecipe, read: Callable[[str], bytes]) -> "ec.EllipticCurvePrivateKey":
    if recipe.key_seed is not None:
        return key_from_seed(recipe.key_seed)
    assert recipe.key_file is not None  # parse_recipe wants exactly one of the two
    return key_from_pem(read(recipe.key_file))


def _signed_tail(manufacturer_image: bytes, recipe: SignatureRecipe, read: Callable[[str], bytes]) -> bytes:
    """ForceReplace, length octet and signature (GBCS 11.2.2)."""
    return bytes([recipe.force_replace, SIGNATURE_BYTES]) + p256.sign(manufacturer_image, signing_key(recipe, read))


def _zigbee_credentials(recipe: Recipe) -> "Credentials | None":
    wanted = recipe.zigbee_signature
    if wanted is None:
        return None
    return seeded_credentials(wanted.suite, wanted.key_seed, wanted.issuer, wanted.signer)


def _damage(content: bytes, fault: Fault) -> bytes:
    damaged = bytearray(content)
    for offset, octets in fault.overwrite:
        if offset + len(octets) > len(damaged):
            raise UsageError(
                f"recipe: [[fault.overwrite]] at {offset} lies beyond the {len(damaged)} bytes of the image"
            )
        damaged[offset : offset + len(octets)] = octets
    if fault.truncate_to_bytes is not None:
        del damaged[fault.truncate_to_bytes :]
    return bytes(damaged + fault.append)
