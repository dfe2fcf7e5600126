"""XML signatures of DUIS: one enveloped ECDSA P-256 signature over the whole document, and nothing else.

`detach` takes the signature out of the tree, and what is read afterwards is the very tree whose digest is checked: a
document cannot show one part to the verifier and another to the reader. Everything of XML Signature that DUIS does not
use is refused by name: other references, other transforms, objects, ids, keys that the document brings along.

The digest is over inclusive C14N where the only transform is the enveloped signature (XMLDSIG 4.4.3.2: the default, and
what the DCC's own signing tool makes), over exclusive C14N where the reference says so; SignedInfo is always exclusive.
Whose certificate a serial number names is the caller's to know; so is whether it may sign.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.constant_time import bytes_eq
from lxml import etree
from lxml.etree import _Element

from chf.crypto import p256
from chf.duis.document import SIGNATURE_NAMESPACE, ElementReader, base64_in, base64_text, name_of, refusal
from chf.errors import RefusedError

EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
SHA256_DIGEST = "http://www.w3.org/2001/04/xmlenc#sha256"
_SIGNATURE_OCTETS = 64  # r || s
_LONGEST_SERIAL = 49  # decimal digits of the 20 octets that X.509 allows


@dataclass(frozen=True, slots=True)
class IssuerSerial:
    """How a signature names its certificate. `issuer` is the name's parts, sorted, because tools order them freely."""

    issuer: tuple[str, ...]
    serial: int

    def __str__(self) -> str:
        return f"serial {self.serial} of {','.join(self.issuer)}"[:160]

    @classmethod
    def of(cls, certificate: x509.Certificate) -> "IssuerSerial":
        return cls(_name_parts(certificate.issuer.rfc4514_string()), certificate.serial_number)


@dataclass(frozen=True, slots=True)
class DetachedSignature:
    """What a ds:Signature says, read strictly, and the element of its SignedInfo."""

    signer: IssuerSerial
    digest: bytes
    exclusive: bool
    value: bytes
    signed_info: _Element


FindCertificate = Callable[[IssuerSerial], x509.Certificate | None]


def detach(root: _Element) -> DetachedSignature | None:
    """Take the signature out of a document; None where it has none.

    Raises MalformedRequestError for a signature that is anywhere but last under the root, is not the only one, or is
    of another kind than DUIS has.
    """
    tag = f"{{{SIGNATURE_NAMESPACE}}}Signature"
    found = list(root.iter(tag))
    if not found:
        return None
    element = found[0]
    if len(found) > 1:
        raise refusal("a second signature", found[1])
    if element.getparent() is not root or element.getnext() is not None:
        raise refusal("a signature is the last element under the root, and nowhere else", element)
    signature = _read(element)
    before = element.getprevious()
    if element.tail:  # the enveloped-signature transform drops the element and keeps the text after it
        if before is None:
            root.text = (root.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
        element.tail = None
    root.remove(element)
    return signature


def verify(root: _Element, signature: DetachedSignature, find: FindCertificate) -> x509.Certificate:
    """The certificate with which this document was signed, from which `signature` was detached.

    Raises RefusedError: the certificate is not known, or the document is not what was signed.
    """
    certificate = find(signature.signer)
    if certificate is None:
        raise RefusedError(f"no certificate with {signature.signer} is known")
    key = certificate.public_key()
    if not p256.is_public_key(key):
        raise RefusedError(f"the key of {signature.signer} is not on P-256")
    if not bytes_eq(_digest(root, exclusive=signature.exclusive), signature.digest):
        raise RefusedError("the document was changed after it was signed: its digest differs")
    if len(signature.value) != _SIGNATURE_OCTETS:
        raise RefusedError(f"the signature has {len(signature.value)} octets, not {_SIGNATURE_OCTETS}")
    if not p256.verifies(_canonical(signature.signed_info, exclusive=True), signature.value, key):
        raise RefusedError(f"the signature was not made with the key of {signature.signer}")
    return certificate


def sign(root: _Element, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Append a signature as the DCC's signing tool makes it. `root` may not be changed after that, spaces included."""
    ds = f"{{{SIGNATURE_NAMESPACE}}}"
    digest = _digest(root, exclusive=False)
    element = etree.SubElement(root, f"{ds}Signature", nsmap={"ds": SIGNATURE_NAMESPACE})
    signed_info = etree.SubElement(element, f"{ds}SignedInfo")
    etree.SubElement(signed_info, f"{ds}CanonicalizationMethod").set("Algorithm", EXCLUSIVE_C14N)
    etree.SubElement(signed_info, f"{ds}SignatureMethod").set("Algorithm", ECDSA_SHA256)
    reference = etree.SubElement(signed_info, f"{ds}Reference")
    reference.set("URI", "")
    transforms = etree.SubElement(reference, f"{ds}Transforms")
    etree.SubElement(transforms, f"{ds}Transform").set("Algorithm", ENVELOPED)
    etree.SubElement(reference, f"{ds}DigestMethod").set("Algorithm", SHA256_DIGEST)
    etree.SubElement(reference, f"{ds}DigestValue").text = base64_text(digest)
    value = p256.sign(_canonical(signed_info, exclusive=True), key)
    etree.SubElement(element, f"{ds}SignatureValue").text = base64_text(value)
    data = etree.SubElement(etree.SubElement(element, f"{ds}KeyInfo"), f"{ds}X509Data")
    issuer_serial = etree.SubElement(data, f"{ds}X509IssuerSerial")
    etree.SubElement(issuer_serial, f"{ds}X509IssuerName").text = certificate.issuer.rfc4514_string()
    etree.SubElement(issuer_serial, f"{ds}X509SerialNumber").text = str(certificate.serial_number)


def _canonical(element: _Element, *, exclusive: bool) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=exclusive, with_comments=False, with_tail=False)


def _digest(root: _Element, *, exclusive: bool) -> bytes:
    return hashlib.sha256(_canonical(root, exclusive=exclusive)).digest()


def _read(element: _Element) -> DetachedSignature:
    signature = _Reader(element)
    signed_info_element = signature.take("SignedInfo")
    value = _octets(signature.take("SignatureValue"))
    key_info = signature.take("KeyInfo")
    signature.finish()
    signed_info = _Reader(signed_info_element)
    _algorithm(signed_info.take("CanonicalizationMethod"), EXCLUSIVE_C14N)
    _algorithm(signed_info.take("SignatureMethod"), ECDSA_SHA256)
    reference_element = signed_info.take("Reference", attributes=("URI",))
    signed_info.finish()
    if reference_element.get("URI") != "":
        raise refusal("the signature is over a part of the document: only URI='' is taken", reference_element)
    reference = _Reader(reference_element)
    exclusive = _transforms(reference.take("Transforms"))
    _algorithm(reference.take("DigestMethod"), SHA256_DIGEST)
    digest = _octets(reference.take("DigestValue"))
    reference.finish()
    return DetachedSignature(_signer(key_info), digest, exclusive, value, signed_info_element)


class _Reader:
    """Children of one element of the signature, in order; none has attributes but those that are asked for."""

    def __init__(self, element: _Element) -> None:
        self._reader = ElementReader(element)
        self._element = element
        self.finish = self._reader.finish

    def take(self, name: str, attributes: tuple[str, ...] = ()) -> _Element:
        child = self._reader.optional(name, SIGNATURE_NAMESPACE)
        if child is None:
            raise refusal(f"ds:{name} is missing, or not where DUIS has it", self._element)
        for attribute in child.attrib:
            if attribute not in (*attributes, "Algorithm"):
                raise refusal(f"attribute {str(attribute)[:80]!r} is not taken in a signature", child)
        return child


def _algorithm(element: _Element, wanted: str) -> None:
    if len(element) or element.get("Algorithm") != wanted:
        raise refusal(f"only {wanted} is taken", element)


def _transforms(element: _Element) -> bool:
    """Whether the digest is over exclusive C14N."""
    reader = _Reader(element)
    _algorithm(reader.take("Transform"), ENVELOPED)
    exclusive = len(element) > 1
    if exclusive:
        _algorithm(reader.take("Transform"), EXCLUSIVE_C14N)
    reader.finish()
    return exclusive


def _signer(key_info: _Element) -> IssuerSerial:
    keys = _Reader(key_info)
    data = _Reader(keys.take("X509Data"))
    keys.finish()
    issuer_serial = _Reader(data.take("X509IssuerSerial"))
    data.finish()
    issuer = issuer_serial.take("X509IssuerName")
    number = issuer_serial.take("X509SerialNumber")
    issuer_serial.finish()
    digits = _text(number).strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_SERIAL):
        raise refusal("not a serial number in decimal", number)
    return IssuerSerial(_name_parts(_text(issuer)), int(digits))


def _name_parts(name: str) -> tuple[str, ...]:
    """`CN=Z1, OU=07` and `OU=07,CN=Z1` are one issuer. A serial number is looked up with it, never trusted by it."""
    return tuple(sorted(part.strip() for part in name[:400].split(",")))


def _text(element: _Element) -> str:
    """A comment inside would hide a part."""
    if len(element):
        raise refusal(f"text is expected, and nothing inside {name_of(element)}", element)
    return element.text or ""


def _octets(element: _Element) -> bytes:
    """Of any length: the public samples carry placeholders, which a verifier refuses and a reader need not."""
    return base64_in(_text(element), element)
