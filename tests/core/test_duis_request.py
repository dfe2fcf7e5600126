"""DUIS requests and responses: read, written, and refused with the element and the line."""

import socket
import time
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.duis import (
    DuisSchema,
    FirmwareWarning,
    RequestId,
    ResponseCode,
    ServiceReference,
    ServiceResponse,
    UpdateFirmwareRequest,
)
from chf.duis.document import parse_document
from chf.duis.service_request import read_service_request
from chf.duis.xml_signature import detach
from chf.errors import ChfError, MalformedRequestError, RefusedError, UsageError
from chf.eui64 import Eui64
from tests.support.duis_attacks import attacks, duplicates

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "duis"
needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the public DUIS reference data is not beside the checkout"
)
PROFILE = settings(derandomize=True, deadline=None, max_examples=60)

SUPPLIER, ACB, PPMID = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30000002), Eui64(0x00DB1234567890A4)
REQUEST = UpdateFirmwareRequest(
    ServiceReference.UPDATE_PPMID_FIRMWARE, RequestId(SUPPLIER, ACB, 1000), b"the image", "0123ABCD", (PPMID,)
)
TEXT = REQUEST.to_bytes().decode()


def read(octets: bytes):
    root = parse_document(octets)
    detach(root)
    return read_service_request(root).request


def refused(text: str | bytes) -> MalformedRequestError:
    with pytest.raises(MalformedRequestError) as caught:
        read(text.encode() if isinstance(text, str) else text)
    return caught.value


@pytest.fixture(scope="module")
def schema():
    if not REFERENCE.exists():
        pytest.skip("the public DUIS reference data is not beside the checkout")
    return DuisSchema({path.name: path.read_bytes() for path in REFERENCE.glob("*.xsd")}, "DUIS Schema V5.4.xsd")


ids = st.integers(0, 2**64 - 1).map(Eui64)
request_ids = st.builds(RequestId, ids, ids, st.integers(0, 2**64 - 1))
versions = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
requests = st.builds(
    UpdateFirmwareRequest,
    st.sampled_from(ServiceReference),
    request_ids,
    st.binary(min_size=1, max_size=300),
    versions,
    st.lists(ids, min_size=1, max_size=5).map(tuple),
)
id_lists = st.lists(ids, max_size=3).map(tuple)
responses = st.builds(
    ServiceResponse,
    request_ids,
    st.sampled_from([reference.value for reference in ServiceReference]),
    st.sampled_from(ResponseCode),
    st.integers(0, 4_000_000_000),
    st.builds(FirmwareWarning, id_lists, id_lists, id_lists, id_lists, id_lists).map(lambda warning: warning or None),
)


@PROFILE
@given(requests)
def test_duis_any_request_round_trips(request):
    assert read(request.to_bytes()) == request


@PROFILE
@given(requests, responses)
def test_duis_what_is_written_is_valid_by_the_schema(schema, request, response):
    schema.check(request.to_bytes())
    schema.check(response.to_bytes())


@PROFILE
@given(st.integers(0, len(TEXT) - 1), st.text(max_size=4))
def test_duis_damaged_request_is_refused_or_understood(at, damage):
    octets = (TEXT[:at] + damage + TEXT[at + 1 :]).encode("utf-8", "replace")
    try:
        understood = read(octets)
    except ChfError as error:
        refusal = type(error)
        assert refusal in (MalformedRequestError, RefusedError)
    else:
        assert read(understood.to_bytes()) == understood


@PROFILE
@given(st.binary(max_size=100))
def test_duis_junk_is_refused_by_name(junk):
    assert refused(junk).reason


@needs_reference
def test_duis_schema_accepts_the_samples_and_refuses_a_changed_one(schema):
    samples = list(REFERENCE.glob("*.XML"))
    assert len(samples) == 7
    for sample in samples:
        schema.check(sample.read_bytes())
        with pytest.raises(MalformedRequestError, match="against the schema"):
            schema.check(sample.read_bytes().replace(b"CommandVariant", b"CommandVariety"))


@needs_reference
def test_duis_samples_are_read():
    samples = {sample.name[:4]: read(sample.read_bytes()) for sample in sorted(REFERENCE.glob("*.XML"))}
    ppmid = samples["11.4"]
    assert ppmid.service_reference is ServiceReference.UPDATE_PPMID_FIRMWARE
    assert (ppmid.request_id, ppmid.device_ids) == (RequestId(SUPPLIER, ACB, 1000), (PPMID,))
    assert (len(ppmid.image), ppmid.image[:4].hex(), ppmid.firmware_version) == (295, "1ef1ee0b", "00000000")
    assert len(samples["11.1"].image) == 361


def test_duis_image_is_not_in_the_repr():
    assert "the image" not in repr(REQUEST)


IMAGE = f"<sr:FirmwareImage>{b64encode(b'the image').decode()}</sr:FirmwareImage>"


@pytest.mark.parametrize(
    ("old", "new", "element", "line"),
    [
        ("ServiceUserGateway", "Elsewhere", "Request", 2),
        ("sr:Request ", "sr:Response ", "line", None),  # its end tag no longer fits
        ('schemaVersion="5.4"', "", "Request", 2),
        ('schemaVersion="5.4"', 'schemaVersion="five"', "Request", 2),
        ('schemaVersion="5.4"', 'schemaVersion="5.4" odd="1"', "Request", 2),
        ("<sr:Header>", "<sr:Header id='1'>", "Header", 3),
        ("90-B3-D5-1F-30-01-00-00:", "90-B3-D5-1F-30-01-00:", "RequestID", 4),
        (":1000", ":01000", "RequestID", 4),
        (":1000", ":18446744073709551616", "RequestID", 4),
        (":1000<", ":<", "RequestID", 4),
        (">8<", ">1<", "CommandVariant", 5),
        ("Variant>11.4", "Variant>11.1", "ServiceReferenceVariant", 7),
        ("<sr:ServiceReference>11.4</sr:ServiceReference>", "", "ServiceReferenceVariant", 7),
        ("<sr:ServiceReference>11.4</sr:ServiceReference>", "<sr:ServiceReference/>", None, None),
        ("sr:UpdatePPMIDFirmware>", "sr:UpdateFirmware>", "UpdateFirmware", 10),
        (IMAGE, "", "FirmwareVersion", 12),
        (IMAGE, IMAGE + IMAGE, "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage/>", "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage>AA=A</sr:FirmwareImage>", "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage>AAA</sr:FirmwareImage>", "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage>AAB=</sr:FirmwareImage>", "FirmwareImage", 11),  # bits beyond the end
        (IMAGE, "<sr:FirmwareImage>AA\u00e9A</sr:FirmwareImage>", "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage><b>AAAA</b></sr:FirmwareImage>", "FirmwareImage", 11),
        (IMAGE, "<sr:FirmwareImage href='http://127.0.0.1/'>AAAA</sr:FirmwareImage>", "FirmwareImage", 11),
        ("0123ABCD<", "<", "FirmwareVersion", 12),
        ("0123ABCD<", "0123ABCDE<", "FirmwareVersion", 12),
        ("00-DB-12-34-56-78-90-A4<", "<", "DeviceIDList", 13),
        ("00-DB-12-34-56-78-90-A4<", "00-DB-12-34-56-78-90-A4, 00-DB-12-34-56-78-90-A5<", "DeviceIDList", 13),
        ("00-DB-12-34-56-78-90-A4<", "00-DB-12-34-56-78-90-A4,<", "DeviceIDList", 13),
        ("00-DB-12-34-56-78-90-A4<", "00-DB-12-34-56-78-90<", "DeviceIDList", 13),
        ("<sr:DeviceIDList>00-DB-12-34-56-78-90-A4</sr:DeviceIDList>", "", "UpdatePPMIDFirmware", 10),
        ("<sr:Body>", "stray<sr:Body>", "Request", 2),
        ("</sr:Body>", "</sr:Body><sr:Body/>", "Body", 15),
        (
            "<sr:CommandVariant>",
            "<sr:FirstInSequence>true</sr:FirstInSequence><sr:CommandVariant>",
            "FirstInSequence",
            5,
        ),
    ],
)
def test_duis_refusal_names_element_and_line(old, new, element, line):
    assert old in TEXT, "the test no longer fits the document"
    if element is None:
        with pytest.raises(RefusedError):
            read(TEXT.replace(old, new).encode())
        return
    error = refused(TEXT.replace(old, new))
    assert element in error.field
    if line is not None:
        assert error.field.endswith(f"line {line}")


def test_duis_empty_body_is_refused():
    start, end = TEXT.index("<sr:Body>"), TEXT.index("</sr:Body>")
    error = refused(TEXT[:start] + "<sr:Body>" + TEXT[end:])
    assert (error.reason, error.field) == ("it is empty", "Body, line 9")


def test_duis_white_space_where_the_schema_allows_it():
    text = TEXT.replace(">90-B3", "> \n90-B3").replace(IMAGE, IMAGE.replace("dGhl", "dG hl\n"))
    assert text != TEXT
    assert read(text.encode()) == REQUEST


def test_duis_comments_and_white_space_in_base64_are_skipped():
    octets = TEXT.encode()
    start = octets.index(b"<sr:FirmwareImage>") + len(b"<sr:FirmwareImage>")
    for at in (start, start + 4, start + 7):
        assert read(octets[:at] + b"<!-- a tool's\n -->\n\t" + octets[at:]).image == REQUEST.image
    assert "without child elements" in refused(octets[:start] + b"<sr:a/>" + octets[start:]).reason


def test_duis_comments_between_elements_are_skipped():
    assert read(TEXT.replace("<sr:Body>", "<!-- a --><sr:Body>").encode()) == REQUEST


def test_duis_fifty_thousand_devices_are_taken_and_one_more_is_not():
    ids = tuple(Eui64(number) for number in range(50_000))
    many = UpdateFirmwareRequest(REQUEST.service_reference, REQUEST.request_id, b"i", "1", ids)
    assert read(many.to_bytes()).device_ids == ids
    text = many.to_bytes().replace(b"</sr:DeviceIDList>", b",00-DB-12-34-56-78-90-A4</sr:DeviceIDList>")
    assert "more than 50000" in refused(text).reason


def test_duis_the_largest_legal_image_is_taken_and_one_octet_more_is_not():
    def with_image(size):
        return UpdateFirmwareRequest(
            REQUEST.service_reference, REQUEST.request_id, bytes(size), "1", (PPMID,)
        ).to_bytes()

    assert len(read(with_image(10_240_000)).image) == 10_240_000
    assert "10240001 octets" in refused(with_image(10_240_001)).reason


ATTACKS = attacks(TEXT, "0123ABCD") | duplicates(TEXT)


@pytest.mark.parametrize("name", ATTACKS)
def test_duis_attack_is_refused_early_and_fetches_nothing(name, monkeypatch):
    def no_network(*arguments, **options):
        raise AssertionError("the parser opened a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    before = time.process_time()
    error = refused(ATTACKS[name])
    assert "root:" not in str(error)
    assert len(str(error)) < 400
    # 0.2 s is the aim on an idle machine; ten times that still tells a limit from an explosion
    assert time.process_time() - before < 2


def test_duis_schema_that_is_incomplete_is_refused():
    schema = b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import schemaLocation="a b.xsd"/></xs:schema>'
    with pytest.raises(UsageError, match=r"needs 'a b\.xsd'"):
        DuisSchema({"main.xsd": schema}, "main.xsd")
    alone = schema.replace(b' schemaLocation="a b.xsd"', b' namespace="urn:elsewhere"')
    with pytest.raises(MalformedRequestError, match="against the schema"):
        DuisSchema({"main.xsd": alone}, "main.xsd").check(TEXT.encode())
    with pytest.raises(UsageError, match="not among"):
        DuisSchema({}, "main.xsd")
    with pytest.raises(UsageError, match="not a schema"):
        DuisSchema({"main.xsd": b"<not-a-schema/>"}, "main.xsd")


def test_duis_response_of_partial_acceptance():
    warning = FirmwareWarning(invalid=(Eui64(1),), other_request_in_progress=(Eui64(2), Eui64(3)))
    code = ResponseCode.UPDATE_PPMID_FIRMWARE_PARTIAL
    text = ServiceResponse(REQUEST.request_id, "11.4", code, 1420070400, warning).to_bytes().decode()
    assert "<sr:ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-01-00-00:1000</sr:ResponseID>" in text
    assert "<sr:ResponseDateTime>2015-01-01T00:00:00Z</sr:ResponseDateTime>" in text
    assert text.index("InvalidDeviceIDList") < text.index("OtherRequestInProgressList")
    assert "00-00-00-00-00-00-00-02,00-00-00-00-00-00-00-03" in text
    assert "NotCommissionedDeviceIDList" not in text
