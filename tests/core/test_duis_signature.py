"""XML signatures: ours verify, every change is noticed, and what is signed is what is read."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree

from chf.duis import RequestId, ServiceReference, UpdateFirmwareRequest
from chf.duis.document import parse_document
from chf.duis.service_request import read_service_request
from chf.duis.xml_signature import EXCLUSIVE_C14N, IssuerSerial, detach, sign, verify
from chf.errors import ChfError, MalformedRequestError, RefusedError
from chf.eui64 import Eui64
from chf.pki.certificates import Role, Usage, organisation_certificate
from chf.pki.gbcs import seeded_keys
from tests.support.duis_attacks import wrappings

KEYS = seeded_keys(b"xml signature")
SUPPLIER, ACB, PPMID = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30000002), Eui64(0x00DB1234567890A4)
REQUEST = UpdateFirmwareRequest(
    ServiceReference.UPDATE_PPMID_FIRMWARE, RequestId(SUPPLIER, ACB, 1000), b"the image", "0123ABCD", (PPMID,)
)


def certificate(name: str) -> x509.Certificate:
    return organisation_certificate(
        SUPPLIER, Role.SUPPLIER, Usage.DIGITAL_SIGNATURE, KEYS(name).public_key(), KEYS("root")
    )


SIGNER = certificate("signer")


def find(signer: IssuerSerial):
    return SIGNER if signer == IssuerSerial.of(SIGNER) else None


def signed(document: bytes | None = None) -> str:
    root = parse_document(REQUEST.to_bytes() if document is None else document)
    sign(root, KEYS("signer"), SIGNER)
    return etree.tostring(root).decode()


SIGNED = signed()


def check(text: str) -> x509.Certificate:
    root = parse_document(text.encode())
    signature = detach(root)
    assert signature is not None
    return verify(root, signature, find)


def test_signature_made_here_verifies_and_leaves_the_document():
    assert check(SIGNED) == SIGNER
    root = parse_document(SIGNED.encode())
    detach(root)
    assert read_service_request(root).request == REQUEST


def test_signature_that_is_not_there_is_none():
    assert detach(parse_document(REQUEST.to_bytes())) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0123ABCD", "0123ABCE"),
        (":1000<", ":1001<"),
        ("00-DB-12-34-56-78-90-A4", "00-DB-12-34-56-78-90-A5"),
        ("</sr:Header>", "</sr:Header> "),
        ('schemaVersion="5.4"', 'schemaVersion="5.3"'),
        ("</sr:Body>", "</sr:Body>\n"),
    ],
)
def test_signature_over_a_changed_document_is_refused(old, new):
    assert old in SIGNED
    with pytest.raises(RefusedError, match="changed after it was signed"):
        check(SIGNED.replace(old, new, 1))


def test_signature_does_not_mind_comments_and_quotes():
    assert check(
        SIGNED.replace("<sr:Body>", "<!-- seen --><sr:Body>").replace('schemaVersion="5.4"', "schemaVersion='5.4'")
    )


def test_signature_by_a_stranger_is_refused():
    root = parse_document(REQUEST.to_bytes())
    sign(root, KEYS("stranger"), certificate("stranger"))
    with pytest.raises(RefusedError, match="no certificate with serial"):
        check(etree.tostring(root).decode())


def test_signature_with_another_key_under_a_known_serial_is_refused():
    root = parse_document(REQUEST.to_bytes())
    sign(root, KEYS("stranger"), SIGNER)
    with pytest.raises(RefusedError, match="not made with the key"):
        check(etree.tostring(root).decode())


def test_signature_digest_that_was_recomputed_does_not_help():
    """The attacker changes the document and puts the right digest into SignedInfo: then SignedInfo is not as signed."""
    forged = parse_document(SIGNED.replace("0123ABCD", "0123ABCE").encode())
    detach(forged)
    sign(forged, KEYS("stranger"), SIGNER)
    text = etree.tostring(forged).decode()

    def part(document: str, name: str) -> str:
        start, end = document.index(f"<ds:{name}>"), document.index(f"</ds:{name}>")
        return document[start:end]

    text = text.replace(part(text, "SignatureValue"), part(SIGNED, "SignatureValue"))
    with pytest.raises(RefusedError, match="not made with the key"):
        check(text)


SIGNATURE = SIGNED[SIGNED.index("<ds:Signature ") : SIGNED.index("</sr:Request>")]
WRAPPINGS = wrappings(SIGNED, REQUEST.firmware_version)
CHANGED = {
    "the signed document around the forged",
    "the signed document beside the forged body",
    "the signed body, and a forged one before it",
    "a second RequestID",
}
"""Well-formed signatures, over something else."""


def read(text: str) -> None:
    root = parse_document(text.encode())
    if (signature := detach(root)) is not None:
        verify(root, signature, find)
    read_service_request(root)


@pytest.mark.parametrize("name", WRAPPINGS)
def test_signature_wrapping_and_other_kinds_of_signature_are_refused(name):
    assert WRAPPINGS[name] != SIGNED, "the test no longer fits the document"
    with pytest.raises(RefusedError if name in CHANGED else MalformedRequestError):
        read(WRAPPINGS[name])


def test_signature_with_exclusive_c14n_in_its_transforms_is_taken():
    """Built by hand: the reference over exclusive C14N, as the public description of DUIS has it."""
    import hashlib
    from base64 import b64encode

    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    root = parse_document(REQUEST.to_bytes())
    digest = hashlib.sha256(etree.tostring(root, method="c14n", exclusive=True)).digest()
    sign(root, KEYS("signer"), SIGNER)
    ds = "{http://www.w3.org/2000/09/xmldsig#}"
    transforms = next(root.iter(f"{ds}Transforms"))
    etree.SubElement(transforms, f"{ds}Transform").set("Algorithm", EXCLUSIVE_C14N)
    next(root.iter(f"{ds}DigestValue")).text = b64encode(digest).decode()
    info = etree.tostring(next(root.iter(f"{ds}SignedInfo")), method="c14n", exclusive=True)
    r, s = decode_dss_signature(KEYS("signer").sign(info, ec.ECDSA(SHA256())))
    value = b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
    next(root.iter(f"{ds}SignatureValue")).text = value[:76] + "\r\n" + value[76:]
    assert check(etree.tostring(root).decode()) == SIGNER


def test_signature_of_another_length_is_refused_when_it_is_verified():
    """Not when it is read: the public samples carry placeholders."""
    start, end = SIGNED.index("<ds:SignatureValue>"), SIGNED.index("</ds:SignatureValue>")
    with pytest.raises(RefusedError, match="has 7 octets, not 64"):
        check(SIGNED[:start] + "<ds:SignatureValue>ZGVmYXVsdA==" + SIGNED[end:])


def test_signature_issuer_is_compared_whatever_its_order():
    other = SIGNED.replace(SIGNER.issuer.rfc4514_string(), "OU=00, CN=chf test root")
    if other == SIGNED:
        other = SIGNED.replace(SIGNER.issuer.rfc4514_string(), "CN=chf test root, OU=00")
    assert check(other) == SIGNER
    with pytest.raises(RefusedError, match="no certificate"):
        check(SIGNED.replace("chf test root", "somebody else"))


@pytest.mark.parametrize("at", range(0, SIGNATURE.index("<ds:KeyInfo>"), 3))
def test_signature_with_any_character_changed_is_refused(at):
    place = SIGNED.index(SIGNATURE) + at
    changed = SIGNED[:place] + ("A" if SIGNED[place] != "A" else "B") + SIGNED[place + 1 :]
    try:
        root = parse_document(changed.encode())
        signature = detach(root)
    except ChfError:
        return
    if signature is None:
        return  # its name was changed: the document is then an unsigned one with a strange element
    with pytest.raises(RefusedError):
        verify(root, signature, find)


def test_signature_time_is_no_concern_of_the_codec():
    assert SIGNER.not_valid_after_utc > datetime(2100, 1, 1, tzinfo=UTC)
