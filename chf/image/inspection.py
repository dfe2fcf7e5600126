"""What a person wants to know of an image: one description, from which the table and the JSON are both made."""

from dataclasses import dataclass
from typing import Any

from chf.eui64 import format_eui64
from chf.image.build import suggested_file_name
from chf.image.checks import Check, signature_check, zigbee_checks
from chf.image.image import FirmwareImage
from chf.image.signature import Signer
from chf.image.zigbee_signature import BadSignatureError, ZigbeeAuthority, read_signature

SCHEMA = 1  # of the JSON that this program prints; rises with a change that readers notice
_KINDS = {
    "standard": "standard ZigBee OTA file (header, sub-elements)",
    "gbcs-ppmid": "GBCS image without a supplier signature (PPMID)",
    "gbcs-signed": "GBCS image with a supplier signature (ESME, GSME, HCALCS)",
}


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    value: str


def printable(octets: bytes) -> str:
    """UTF-8 text for a terminal: nothing in it can move the cursor, change colours or reverse the line."""
    text = octets.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def dotted(file_version: int) -> str:
    """`1.2.3.4` for 0x01020304. A habit of many makers, not a rule of the standard."""
    return ".".join(str(octet) for octet in file_version.to_bytes(4, "big"))


def as_json(
    image: FirmwareImage, signer: Signer | None = None, authority: ZigbeeAuthority | None = None
) -> dict[str, Any]:
    header, hardware = image.header, image.header.hardware_versions
    check = signature_check(image, signer)
    return {
        "schema": SCHEMA,
        "kind": image.kind.value,
        "bytes": len(image.content),
        "sha256": image.sha256,
        "header": {
            "bytes": header.length_bytes,
            "field_control": f"0x{header.field_control:04X}",
            "manufacturer_code": f"0x{header.manufacturer_code:04X}",
            "image_type": f"0x{header.image_type:04X}",
            "file_version": f"0x{header.file_version:08X}",
            "file_version_dotted": dotted(header.file_version),
            "stack_version": f"0x{header.stack_version:04X}",
            "header_string": printable(header.header_string),
            "header_string_hex": header.header_string.hex(),
            "total_image_size": header.total_image_size,
            "security_credential_version": header.security_credential_version,
            "destination": None if header.destination is None else format_eui64(header.destination),
            "hardware_versions": None
            if hardware is None
            else {"minimum": f"0x{hardware.minimum:04X}", "maximum": f"0x{hardware.maximum:04X}"},
        },
        "manufacturer_image": {"bytes": len(image.manufacturer_image), "sha256": image.manufacturer_image_hash},
        "force_replace": image.force_replace,
        "signature": None
        if image.signature is None
        else {
            "r_s": image.signature.hex(),
            "verified": None if check is None else check.passed,
            "checked_against": None if signer is None else signer.subject or "the public key",
        },
        "zigbee": _zigbee_json(image, authority),
        "sub_elements": [
            {"tag": f"0x{each.tag:04X}", "name": each.name, "bytes": len(each.data)} for each in image.sub_elements
        ],
        "suggested_file_name": suggested_file_name(image),
        "remarks": list(image.remarks),
    }


def as_rows(
    image: FirmwareImage, signer: Signer | None = None, authority: ZigbeeAuthority | None = None
) -> tuple[Row, ...]:
    header, hardware = image.header, image.header.hardware_versions
    rows = [
        Row("Kind", _KINDS[image.kind.value]),
        Row("Manufacturer code", f"0x{header.manufacturer_code:04X}"),
        Row("Image type", f"0x{header.image_type:04X}"),
        Row("File version", f"0x{header.file_version:08X} ({dotted(header.file_version)})"),
        Row("Stack version", f"0x{header.stack_version:04X}"),
        Row("Header string", printable(header.header_string)),
        Row(
            "Hardware versions", "all" if hardware is None else f"0x{hardware.minimum:04X} to 0x{hardware.maximum:04X}"
        ),
    ]
    if header.security_credential_version is not None:
        rows.append(Row("Security credential", str(header.security_credential_version)))
    if header.destination is not None:
        rows.append(Row("Only for device", format_eui64(header.destination)))
    rows += [
        Row("Size", f"{len(image.content)} bytes, of which header {header.length_bytes}"),
        Row("SHA-256", image.sha256),
        Row("Manufacturer Image", f"{len(image.manufacturer_image)} bytes"),
        Row("Manufacturer Image Hash", image.manufacturer_image_hash),
    ]
    if image.force_replace is not None:
        rows.append(Row("ForceReplace", "yes" if image.force_replace else "no"))
    rows.append(Row("Supplier signature", _verdict(signature_check(image, signer))))
    rows += [Row(check.name[:1].upper() + check.name[1:], _verdict(check)) for check in zigbee_checks(image, authority)]
    rows += [
        Row(f"Sub-element 0x{each.tag:04X}", f"{each.name}, {len(each.data)} bytes") for each in image.sub_elements
    ]
    rows += [Row("Remark", remark) for remark in image.remarks]
    rows.append(Row("File name", suggested_file_name(image)))
    return tuple(rows)


def _verdict(check: Check | None) -> str:
    if check is None:
        return "none"
    verdict = {True: "verified: ", False: "NOT verified: ", None: ""}[check.passed]
    return verdict + printable(check.detail.encode())


def _zigbee_json(image: FirmwareImage, authority: ZigbeeAuthority | None) -> dict[str, Any]:
    """Signer, subject and issuer are null where there is no signature, or one that cannot be read: see the checks."""
    try:
        signature = read_signature(image)
    except BadSignatureError:
        signature = None
    checks = zigbee_checks(image, authority)
    return {
        "suite": None if signature is None else signature.suite.value,
        "signer": None if signature is None else format_eui64(signature.signer),
        "certificate_subject": None if signature is None else format_eui64(signature.signer),
        "certificate_issuer": None if signature is None else format_eui64(signature.issuer),
        "checks": [{"name": each.name, "passed": each.passed, "detail": each.detail} for each in checks],
    }


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
