"""`chf dcc submit`: service requests from files, and what is said of those that are not taken."""

from pathlib import Path

import pytest
from lxml import etree

from chf.duis import RequestId, ServiceReference, UpdateFirmwareRequest
from chf.eui64 import parse_eui64
from chf.pki.gbcs import DEFAULT_ACB, DEFAULT_SUPPLIER
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick
from tests.support.virtual_dongle import EUI64

pytestmark = pytest.mark.timeout(120)
REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "duis"
UNKNOWN = "00-DB-12-34-56-78-95-01"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    with bench(tmp_path_factory.mktemp("requests"), quick()) as desk:
        desk.start_hub()
        desk.admit(EUI64)
        yield desk


def request(desk, counter, *devices, version=2):
    image = image_file(desk.directory / f"{counter}.ota", file_version=version, size_bytes=700)
    identifier = RequestId(DEFAULT_SUPPLIER, DEFAULT_ACB, counter)
    targets = tuple(map(parse_eui64, devices))
    service = ServiceReference.UPDATE_PPMID_FIRMWARE
    document = UpdateFirmwareRequest(service, identifier, image.read_bytes(), f"{version:08X}", targets).to_bytes()
    path = desk.directory / f"{counter}.xml"
    path.write_bytes(document)
    return path


def test_partly_accepted_then_replayed_then_activated(desk):
    path = request(desk, 1000, EUI64, UNKNOWN)
    response = desk.directory / "response.xml"
    ran = desk.chf("dcc", "submit", str(path), "--json", "--response", str(response))
    assert ran.json["accepted"] == [EUI64]
    assert [line["device"] for line in ran.json["refused"]] == [UNKNOWN]
    assert UNKNOWN in ran.err
    assert etree.fromstring(response.read_bytes()).tag.endswith("}Response")
    (started,) = ran.json["started"]

    replayed = desk.chf("dcc", "submit", str(path), code=3)
    assert "counter" in replayed.err.lower()
    assert len(desk.store.updates.list()) == 1

    update = desk.until_state(started["update"], UpdateState.ACTIVATED)
    assert update.origin == f"{DEFAULT_SUPPLIER:016X}:{DEFAULT_ACB:016X}:1000" or "1000" in update.origin


@pytest.mark.parametrize("document", [b"", b"<", b"<x/>", b"\x00\xff", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'])
def test_what_is_no_request_ends_with_exit_code_1(desk, document):
    path = desk.directory / "bad.xml"
    path.write_bytes(document)
    ran = desk.chf("dcc", "submit", str(path), code=1)
    assert ran.err.startswith("chf: ")
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_file_that_is_not_there(desk):
    assert "missing.xml" in desk.chf("dcc", "submit", "missing.xml", code=2).err
