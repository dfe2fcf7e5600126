"""The DCC's XML signature under what it sends to users, made with the ACB's key of the test PKI."""

from lxml import etree

from chf.duis.document import compact, parse_document
from chf.duis.xml_signature import sign
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki


class Seal:
    def __init__(self, pki: Pki) -> None:
        self._key = pki.private_key(pki.acb, Usage.DIGITAL_SIGNATURE)
        self._certificate = pki.certificate(pki.acb, Usage.DIGITAL_SIGNATURE)

    def __call__(self, document: bytes) -> bytes:
        root = parse_document(document)
        compact(root)
        sign(root, self._key, self._certificate)
        return etree.tostring(root, encoding="UTF-8", xml_declaration=True)
