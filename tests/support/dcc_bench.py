"""A DCC side for tests: a home directory with a seeded test PKI, a device log, and images that fit its devices."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from chf.clock import Instant, Now, UtcSeconds
from chf.duis import DuisSchema, RequestId, ServiceReference, UpdateFirmwareRequest
from chf.duis.document import NAMESPACE, parse_document
from chf.duis.xml_signature import sign
from chf.eui64 import Eui64
from chf.image.header import HardwareVersions, OtaHeader
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki, seeded_keys
from chf.store import DeviceEntry, DeviceStatus, DeviceType, Store
from tests.support.updates import runs

KEYS = seeded_keys(b"dcc bench")
NOW = Now(Instant(1000.0), UtcSeconds(1_800_000_000.0))
SUPPLIER, ACB = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30000002)
ESME, GSME, CHF, PPMID, SECOND, HCALCS = (
    Eui64(0x00DB123456789000 + last) for last in (0xA0, 0xA1, 0xA2, 0xA4, 0xA5, 0xA6)
)
STRANGER = Eui64(0x00DB1234567890FF)
FILE_VERSION = 0x00000002
REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "duis"
SCHEMA_FILE = "DUIS Schema V5.4.xsd"

DEVICES: Mapping[Eui64, DeviceType] = {
    PPMID: DeviceType.PPMID,
    SECOND: DeviceType.PPMID,
    ESME: DeviceType.ESME,
    GSME: DeviceType.GSME,
    HCALCS: DeviceType.HCALCS,
}


@cache
def duis_schema() -> DuisSchema:
    """The published schema; a test that wants it is skipped where the reference data is not beside the checkout."""
    if not REFERENCE.exists():
        pytest.skip("the public DUIS reference data is not beside the checkout")
    return DuisSchema({path.name: path.read_bytes() for path in REFERENCE.glob("*.xsd")}, SCHEMA_FILE)


def make_pki(home: Path) -> Pki:
    pki = Pki.create(home / "pki", chf=CHF, acb=ACB, supplier=SUPPLIER, keys=KEYS)
    for device in DEVICES:
        pki.issue(device, KEYS)
    return pki


def log_devices(store: Store, **changes: object) -> None:
    known = {"status": DeviceStatus.JOINED, "images": runs(1, 0x1234, hardware=2), **changes}
    with store.transaction() as tx:
        for eui64, device_type in DEVICES.items():
            tx.devices.add(replace(DeviceEntry(eui64, device_type, NOW.utc), **known))


def image(body: bytes = b"\xee" * 100, **changes: object) -> bytes:
    fields = {
        "manufacturer_code": 0x1234,
        "image_type": 1,
        "file_version": FILE_VERSION,
        "hardware_versions": HardwareVersions(1, 4),
        "total_image_size": 60 + len(body),
        "header_string": bytes(32),
        **changes,
    }
    return OtaHeader(**fields).to_bytes() + body


def update_request(*devices: Eui64, counter: int = 1000, content: bytes | None = None) -> UpdateFirmwareRequest:
    return UpdateFirmwareRequest(
        ServiceReference.UPDATE_PPMID_FIRMWARE,
        RequestId(SUPPLIER, ACB, counter),
        image() if content is None else content,
        f"{FILE_VERSION:08X}",
        devices or (PPMID,),
    )


def signed(document: bytes, pki: Pki, signer: Eui64 = SUPPLIER) -> bytes:
    root = parse_document(document)
    usage = Usage.DIGITAL_SIGNATURE
    sign(root, pki.private_key(signer, usage), pki.certificate(signer, usage))
    return etree.tostring(root)


def field(document: bytes, name: str) -> str | None:
    """The text of the first element of this name."""
    found = etree.fromstring(document).find(f".//{{{NAMESPACE}}}{name}")
    return None if found is None else found.text
