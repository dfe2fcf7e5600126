"""Recipes: TOML that says how to build an image, so that the image need not be kept and anybody can build it again.

Reads the TOML into dataclasses and refuses what it does not know; names files (payload, key) but opens none.
"""

from dataclasses import dataclass

from chf.config import Table, parse_toml
from chf.crypto.ecqv import Suite
from chf.eui64 import Eui64
from chf.image.header import HEADER_STRING_BYTES, ZIGBEE_PRO, HardwareVersions
from chf.image.image import ImageKind


@dataclass(frozen=True, slots=True)
class FilePayload:
    path: str


@dataclass(frozen=True, slots=True)
class PatternPayload:
    """`pattern` again and again, cut at the size."""

    pattern: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SeededPayload:
    """SHAKE-256 of the seed: looks random, and `openssl dgst -shake256 -xoflen N` makes it too."""

    seed: str
    size_bytes: int


Payload = FilePayload | PatternPayload | SeededPayload


@dataclass(frozen=True, slots=True)
class ElementRecipe:
    tag: int
    payload: Payload


@dataclass(frozen=True, slots=True)
class SignatureRecipe:
    """Exactly one of a published seed (test keys) and a PEM file."""

    force_replace: bool
    key_seed: str | None
    key_file: str | None


@dataclass(frozen=True, slots=True)
class ZigbeeSignatureRecipe:
    """Who signs a standard file: a test signer under a test CA, both derived from a published seed."""

    suite: Suite
    signer: Eui64
    issuer: Eui64
    key_seed: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Damage done after a correct build, in the order of its fields, to test those who read images."""

    field: str  # which field the refusal must name
    overwrite: tuple[tuple[int, bytes], ...]
    truncate_to_bytes: int | None
    append: bytes


@dataclass(frozen=True, slots=True)
class Recipe:
    kind: ImageKind
    manufacturer_code: int
    image_type: int
    file_version: int
    stack_version: int
    header_string: bytes
    hardware_versions: HardwareVersions | None
    security_credential_version: int | None
    destination: Eui64 | None
    payload: Payload
    sub_elements: tuple[ElementRecipe, ...]
    integrity_code: bool
    signature: SignatureRecipe | None
    zigbee_signature: ZigbeeSignatureRecipe | None
    fault: Fault | None


def parse_recipe(text: str) -> Recipe:
    """Raises UsageError, which says what to change."""
    table = parse_toml(text, "recipe")
    hardware = table.optional_table("hardware_versions")
    recipe = Recipe(
        kind=table.choice("kind", ImageKind),
        manufacturer_code=table.number("manufacturer_code", 0xFFFF),
        image_type=table.number("image_type", 0xFFFF),
        file_version=table.number("file_version", 0xFFFFFFFF),
        stack_version=table.number("stack_version", 0xFFFF, ZIGBEE_PRO),
        header_string=_header_string(table),
        hardware_versions=None if hardware is None else _hardware_versions(hardware),
        security_credential_version=table.optional_number("security_credential_version", 0xFF),
        destination=table.optional_eui64("destination"),
        payload=_payload(table),
        sub_elements=tuple(map(_element, table.tables("sub_element"))),
        integrity_code=table.flag("integrity_code", default=False),
        signature=_signature(table),
        zigbee_signature=_zigbee_signature(table),
        fault=_fault(table),
    )
    table.finish()
    _check_kind(table, recipe)
    return recipe


def _check_kind(table: Table, recipe: Recipe) -> None:
    """Say what the format cannot carry before it is silently left out."""
    if (recipe.kind is ImageKind.GBCS_SIGNED) is not (recipe.signature is not None):
        raise table.error("belongs to kind gbcs-signed, and to no other", "signature")
    if recipe.kind is not ImageKind.STANDARD:
        for key in ("sub_element", "integrity_code", "zigbee_signature"):
            if getattr(recipe, "sub_elements" if key == "sub_element" else key):
                raise table.error("belongs to kind standard only", key)


def _header_string(table: Table) -> bytes:
    octets = table.text("header_string", "").encode()
    if len(octets) > HEADER_STRING_BYTES:
        raise table.error(f"has {len(octets)} octets, at most {HEADER_STRING_BYTES} fit", "header_string")
    return octets.ljust(HEADER_STRING_BYTES, b"\0")


def _hardware_versions(table: Table) -> HardwareVersions:
    versions = HardwareVersions(table.number("minimum", 0xFFFF), table.number("maximum", 0xFFFF))
    table.finish()
    return versions


def _payload(recipe: Table) -> Payload:
    if not recipe.has("payload"):
        raise recipe.error("is missing: give file, pattern, pattern_hex or seed in it", "payload")
    table = recipe.table("payload")
    payload = _payload_in(table)
    table.finish()
    return payload


def _payload_in(table: Table) -> Payload:
    match [key for key in ("file", "pattern", "pattern_hex", "seed") if table.has(key)]:
        case ["file"]:
            return FilePayload(table.text("file"))
        case ["seed"]:
            return SeededPayload(table.text("seed"), table.number("size_bytes", 0xFFFFFFFF))
        case ["pattern"]:
            return _pattern(table.text("pattern").encode(), table)
        case ["pattern_hex"]:
            return _pattern(table.octets("pattern_hex"), table)
        case _:
            raise table.error("takes exactly one of file, pattern, pattern_hex and seed")


def _pattern(pattern: bytes, table: Table) -> PatternPayload:
    if not pattern:
        raise table.error("is empty", "pattern")
    return PatternPayload(pattern, table.number("size_bytes", 0xFFFFFFFF, len(pattern)))


def _element(table: Table) -> ElementRecipe:
    element = ElementRecipe(table.number("tag", 0xFFFF), _payload_in(table))
    table.finish()
    return element


def _signature(recipe: Table) -> SignatureRecipe | None:
    table = recipe.optional_table("signature")
    if table is None:
        return None
    signature = SignatureRecipe(
        force_replace=table.flag("force_replace", default=False),
        key_seed=table.optional_text("key_seed"),
        key_file=table.optional_text("key_file"),
    )
    table.finish()
    if (signature.key_seed is None) is (signature.key_file is None):
        raise table.error("takes exactly one of key_seed and key_file")
    return signature


def _zigbee_signature(recipe: Table) -> ZigbeeSignatureRecipe | None:
    table = recipe.optional_table("zigbee_signature")
    if table is None:
        return None
    signature = ZigbeeSignatureRecipe(
        suite=Suite.ONE if table.number("suite", 2, minimum=1) == 1 else Suite.TWO,
        signer=table.eui64("signer"),
        issuer=table.eui64("issuer"),
        key_seed=table.text("key_seed"),
    )
    table.finish()
    return signature


def _fault(recipe: Table) -> Fault | None:
    table = recipe.optional_table("fault")
    if table is None:
        return None
    fault = Fault(
        field=table.text("field"),
        overwrite=tuple(map(_overwrite, table.tables("overwrite"))),
        truncate_to_bytes=table.optional_number("truncate_to_bytes", 0xFFFFFFFF),
        append=table.octets("append_hex", ""),
    )
    table.finish()
    return fault


def _overwrite(table: Table) -> tuple[int, bytes]:
    change = table.number("offset", 0xFFFFFFFF), table.octets("hex")
    table.finish()
    return change
