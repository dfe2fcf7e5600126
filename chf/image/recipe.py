"""Recipes: TOML that says how to build an image, so that the image need not be kept and anybody can build it again.

Reads the TOML into dataclasses and refuses what it does not know; names files (payload, key) but opens none.
"""

import tomllib
from dataclasses import dataclass
from typing import Any

from chf.crypto.ecqv import Suite
from chf.errors import UsageError
from chf.eui64 import Eui64, parse_eui64
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


class _Table:
    """A TOML table that is asked for each key once, and at the end complains of those that nobody asked for."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise UsageError(f"recipe: [{name}] must be a table")
        self._values: dict[str, Any] = dict(values)
        self._name = name

    def number(self, key: str, maximum: int, default: int | None = None, *, minimum: int = 0) -> int:
        value = self._take(key, int, default)
        if isinstance(value, bool) or not minimum <= value <= maximum:
            raise self._wrong(key, f"must be a number from {minimum} to 0x{maximum:X}")
        return int(value)

    def optional_number(self, key: str, maximum: int) -> int | None:
        return self.number(key, maximum) if key in self._values else None

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._take(key, str, default))

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def flag(self, key: str, *, default: bool) -> bool:
        return bool(self._take(key, bool, default))

    def octets(self, key: str, default: str | None = None) -> bytes:
        try:
            return bytes.fromhex(self.text(key, default))
        except ValueError:
            raise self._wrong(key, "must be octets in hex") from None

    def table(self, key: str) -> "_Table | None":
        return _Table(self._values.pop(key), f"{self._name}{key}") if key in self._values else None

    def tables(self, key: str) -> list["_Table"]:
        values = self._values.pop(key, [])
        if not isinstance(values, list):
            raise self._wrong(key, "must be an array of tables")
        return [_Table(value, f"{self._name}{key}") for value in values]

    def has(self, key: str) -> bool:
        return key in self._values

    def close(self) -> None:
        if self._values:
            unknown = ", ".join(sorted(map(repr, self._values)))
            raise UsageError(f"recipe: {self._where()} does not know {unknown}")

    def _take(self, key: str, kind: type, default: object) -> Any:
        value = self._values.pop(key, default)
        if value is None:
            raise self._wrong(key, "is missing")
        if not isinstance(value, kind):
            raise self._wrong(key, f"must be of type {kind.__name__}")
        return value

    def _wrong(self, key: str, what: str) -> UsageError:
        return UsageError(f"recipe: {key!r} in {self._where()} {what}")

    def _where(self) -> str:
        return f"[{self._name}]" if self._name else "the recipe"


def parse_recipe(text: str) -> Recipe:
    """Raises UsageError, which says what to change."""
    try:
        table = _Table(tomllib.loads(text), "")
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and numbers of thousands of digits
        raise UsageError(f"recipe: not TOML: {error}") from None
    recipe = Recipe(
        kind=_kind(table.text("kind")),
        manufacturer_code=table.number("manufacturer_code", 0xFFFF),
        image_type=table.number("image_type", 0xFFFF),
        file_version=table.number("file_version", 0xFFFFFFFF),
        stack_version=table.number("stack_version", 0xFFFF, ZIGBEE_PRO),
        header_string=_header_string(table.text("header_string", "")),
        hardware_versions=_hardware_versions(table.table("hardware_versions")),
        security_credential_version=table.optional_number("security_credential_version", 0xFF),
        destination=_destination(table.optional_text("destination")),
        payload=_payload(table.table("payload")),
        sub_elements=tuple(map(_element, table.tables("sub_element"))),
        integrity_code=table.flag("integrity_code", default=False),
        signature=_signature(table.table("signature")),
        zigbee_signature=_zigbee_signature(table.table("zigbee_signature")),
        fault=_fault(table.table("fault")),
    )
    table.close()
    _check_kind(recipe)
    return recipe


def _check_kind(recipe: Recipe) -> None:
    """Say what the format cannot carry before it is silently left out."""
    signed = recipe.kind is ImageKind.GBCS_SIGNED
    if signed is not (recipe.signature is not None):
        raise UsageError(f"recipe: [signature] belongs to kind 'gbcs-signed'{'' if signed else ' only'}")
    if recipe.kind is not ImageKind.STANDARD:
        of_standard_files = {
            "[[sub_element]]": recipe.sub_elements,
            "'integrity_code'": recipe.integrity_code,
            "[zigbee_signature]": recipe.zigbee_signature,
        }
        for name, value in of_standard_files.items():
            if value:
                raise UsageError(f"recipe: {name} belongs to kind 'standard' only")


def _kind(text: str) -> ImageKind:
    try:
        return ImageKind(text)
    except ValueError:
        known = ", ".join(repr(kind.value) for kind in ImageKind)
        raise UsageError(f"recipe: 'kind' must be one of {known}") from None


def _header_string(text: str) -> bytes:
    octets = text.encode()
    if len(octets) > HEADER_STRING_BYTES:
        raise UsageError(f"recipe: 'header_string' has {len(octets)} octets, at most {HEADER_STRING_BYTES} fit")
    return octets.ljust(HEADER_STRING_BYTES, b"\0")


def _destination(text: str | None) -> Eui64 | None:
    return None if text is None else parse_eui64(text)


def _hardware_versions(table: _Table | None) -> HardwareVersions | None:
    if table is None:
        return None
    versions = HardwareVersions(table.number("minimum", 0xFFFF), table.number("maximum", 0xFFFF))
    table.close()
    return versions


def _payload(table: _Table | None) -> Payload:
    if table is None:
        raise UsageError("recipe: [payload] is missing: give file, pattern, pattern_hex or seed")
    payload = _payload_in(table)
    table.close()
    return payload


def _payload_in(table: _Table) -> Payload:
    sources = [key for key in ("file", "pattern", "pattern_hex", "seed") if table.has(key)]
    match sources:
        case ["file"]:
            return FilePayload(table.text("file"))
        case ["seed"]:
            return SeededPayload(table.text("seed"), table.number("size_bytes", 0xFFFFFFFF))
        case ["pattern"]:
            return _pattern(table.text("pattern").encode(), table)
        case ["pattern_hex"]:
            return _pattern(table.octets("pattern_hex"), table)
        case _:
            raise UsageError("recipe: a payload is exactly one of file, pattern, pattern_hex and seed")


def _pattern(pattern: bytes, table: _Table) -> PatternPayload:
    if not pattern:
        raise UsageError("recipe: the payload's pattern is empty")
    return PatternPayload(pattern, table.number("size_bytes", 0xFFFFFFFF, len(pattern)))


def _element(table: _Table) -> ElementRecipe:
    element = ElementRecipe(table.number("tag", 0xFFFF), _payload_in(table))
    table.close()
    return element


def _signature(table: _Table | None) -> SignatureRecipe | None:
    if table is None:
        return None
    recipe = SignatureRecipe(
        force_replace=table.flag("force_replace", default=False),
        key_seed=table.optional_text("key_seed"),
        key_file=table.optional_text("key_file"),
    )
    table.close()
    if (recipe.key_seed is None) is (recipe.key_file is None):
        raise UsageError("recipe: [signature] wants exactly one of key_seed and key_file")
    return recipe


def _zigbee_signature(table: _Table | None) -> ZigbeeSignatureRecipe | None:
    if table is None:
        return None
    recipe = ZigbeeSignatureRecipe(
        suite=Suite.ONE if table.number("suite", 2, minimum=1) == 1 else Suite.TWO,
        signer=parse_eui64(table.text("signer")),
        issuer=parse_eui64(table.text("issuer")),
        key_seed=table.text("key_seed"),
    )
    table.close()
    return recipe


def _fault(table: _Table | None) -> Fault | None:
    if table is None:
        return None
    fault = Fault(
        field=table.text("field"),
        overwrite=tuple(map(_overwrite, table.tables("overwrite"))),
        truncate_to_bytes=table.optional_number("truncate_to_bytes", 0xFFFFFFFF),
        append=table.octets("append_hex", ""),
    )
    table.close()
    return fault


def _overwrite(table: _Table) -> tuple[int, bytes]:
    change = table.number("offset", 0xFFFFFFFF), table.octets("hex")
    table.close()
    return change
