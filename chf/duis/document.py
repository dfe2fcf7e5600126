"""XML from anybody: parsed under hard limits, and read element by element in the order of the schema.

Refused before anything is built of it: more octets than a legal request has, anything but UTF-8, a DOCTYPE or an entity
declaration, processing instructions, depth, and numbers of elements. Nothing is fetched, no entity is expanded. It
knows no service request: `request` and `response` do.
"""

import binascii
import re
from base64 import b64decode, b64encode

from lxml import etree
from lxml.etree import _Comment, _Element, _ProcessingInstruction

from chf.errors import MalformedRequestError

NAMESPACE = "http://www.dccinterface.co.uk/ServiceUserGateway"  # DUIS-XSD
SIGNATURE_NAMESPACE = "http://www.w3.org/2000/09/xmldsig#"
_INSTANCE_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"

LARGEST_DOCUMENT_OCTETS = 15_500_000
"""The base64 of the largest legal image, 50,000 device ids, and room for headers and signature."""
_DEEPEST = 32  # our choice
_MOST_ELEMENTS = 1_000  # our choice
_CHUNK_OCTETS = 1 << 16  # our choice
_XML_SPACE = " \t\r\n"  # XML 1.0, S
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)  # XML Schema, decimal


def parse_document(octets: bytes) -> _Element:
    """The root element of a document that is safe to walk.

    Raises MalformedRequestError that names the element and the line where it can.
    """
    _check_encoding(octets)
    parser = etree.XMLPullParser(
        events=("start", "end", "pi"),
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=True,  # a legal image is a text longer than libxml2's default allows; the limits are ours
    )
    limits = _Limits()
    try:
        for start in range(0, len(octets), _CHUNK_OCTETS):  # in pieces, so that a limit stops the reading early
            parser.feed(octets[start : start + _CHUNK_OCTETS])
            limits.check(parser)
        root = parser.close()
        limits.check(parser)
    except etree.XMLSyntaxError as error:
        raise MalformedRequestError(f"not well-formed XML: {_brief(error)}", field=f"line {error.lineno}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise MalformedRequestError("a DOCTYPE is not taken")
    return root


class _Limits:
    """What the events of the parser may add up to."""

    def __init__(self) -> None:
        self._depth = 0
        self._elements = 0

    def check(self, parser: etree.XMLPullParser) -> None:
        for event, node in parser.read_events():
            if isinstance(node, _ProcessingInstruction):
                raise refusal("processing instructions are not taken", node)
            assert isinstance(node, _Element)
            if event == "end":
                self._depth -= 1
                continue
            self._depth += 1
            self._elements += 1
            if self._depth > _DEEPEST:
                raise refusal(f"nested more than {_DEEPEST} deep", node)
            if self._elements > _MOST_ELEMENTS:
                raise refusal(f"more than {_MOST_ELEMENTS} elements", node)


def _check_encoding(octets: bytes) -> None:
    if len(octets) > LARGEST_DOCUMENT_OCTETS:
        raise MalformedRequestError(
            f"{len(octets)} octets are more than the largest legal request has ({LARGEST_DOCUMENT_OCTETS})"
        )
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequestError("the document is not UTF-8", offset=error.start) from None
    # In UTF-8 these octets cannot hide. They are looked for here as well as after parsing, because attribute values are
    # expanded while the document is read.
    for declaration in (b"<!DOCTYPE", b"<!ENTITY"):
        offset = octets.find(declaration)
        if offset >= 0:
            raise MalformedRequestError(f"{declaration[2:].decode()} is not taken", offset=offset)
    if b"\0" in octets:
        raise MalformedRequestError("a document has no NUL characters", offset=octets.index(b"\0"))


def _brief(error: etree.XMLSyntaxError) -> str:
    return str(error.msg).split("\n", 1)[0][:200]


def name_of(node: _Element) -> str:
    """`FirmwareImage`, or `{namespace}name` for an element of another namespace; never more than a line of it."""
    if isinstance(node, (_Comment, _ProcessingInstruction)):
        return "comment or processing instruction"
    return node.tag.removeprefix(f"{{{NAMESPACE}}}")[:120]


def refusal(reason: str, node: _Element) -> MalformedRequestError:
    line = f", line {node.sourceline}" if node.sourceline is not None else ""
    return MalformedRequestError(reason, field=f"{name_of(node)}{line}")


class ElementReader:
    """Takes the children of one element in the order that the schema gives them; whatever is left over is refused."""

    def __init__(self, element: _Element) -> None:
        self.element = element
        self._children = [child for child in element if not isinstance(child, _Comment)]
        self._at = 0
        for text in (element.text, *(child.tail for child in element)):
            if text is not None and text.strip(_XML_SPACE):
                raise refusal("text between elements", element)

    def optional(self, name: str, namespace: str = NAMESPACE) -> _Element | None:
        child = self._next()
        if child is None or child.tag != f"{{{namespace}}}{name}":
            return None
        self._at += 1
        return child

    def required(self, name: str) -> _Element:
        child = self.optional(name)
        if child is None:
            found = self._next()
            if found is None:
                raise refusal(f"{name} is missing", self.element)
            raise refusal(f"{name} is expected here", found)
        return child

    def any(self) -> _Element:
        """The next child, whatever its name."""
        child = self._next()
        if child is None:
            raise refusal("it is empty", self.element)
        self._at += 1
        return child

    def finish(self) -> None:
        child = self._next()
        if child is not None:
            raise refusal("unknown, repeated, or out of place", child)

    def _next(self) -> _Element | None:
        return self._children[self._at] if self._at < len(self._children) else None


def only_child(element: _Element) -> _Element:
    """The one element inside another that has no attributes and nothing else."""
    refuse_attributes(element)
    reader = ElementReader(element)
    child = reader.any()
    reader.finish()
    return child


def text_of(element: _Element, *, collapse: bool = False) -> str:
    """The text of an element that holds nothing else; a comment in it could hide a part and is refused.

    `collapse` for the schema's token types, whose surrounding white space does not count.
    """
    refuse_attributes(element)
    if len(element):
        raise refusal("it must be text, without child elements", element)
    text = element.text or ""
    return text.strip(_XML_SPACE) if collapse else text


def base64_of(element: _Element) -> bytes:
    """The octets of an element. Comments between the digits are skipped, as a signature skips them."""
    refuse_attributes(element)
    if any(not isinstance(child, _Comment) for child in element):
        raise refusal("it must be base64, without child elements", element)
    return base64_in("".join((element.text or "", *(child.tail or "" for child in element))), element)


def base64_in(text: str, element: _Element) -> bytes:
    """xs:base64Binary: white space anywhere is allowed, everything else strict."""
    try:
        compact = text.encode("ascii").translate(None, _XML_SPACE.encode())
        octets = b64decode(compact, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refusal(f"not base64: {str(error)[:80]}", element) from None
    if b64encode(octets) != compact:
        raise refusal("not base64: its end is not in canonical form", element)
    return octets


def base64_text(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")


def refuse_attributes(element: _Element) -> None:
    for name in element.attrib:
        raise refusal(f"attribute {str(name)[:80]!r} is not known", element)


def check_root(root: _Element, name: str) -> None:
    """Check the root's name and attributes."""
    if root.tag != f"{{{NAMESPACE}}}{name}":
        raise refusal(f"the document is not a {name} of DUIS ({NAMESPACE})", root)
    for attribute in root.attrib:
        if attribute != "schemaVersion" and not str(attribute).startswith(f"{{{_INSTANCE_NAMESPACE}}}"):
            raise refusal(f"attribute {str(attribute)[:80]!r} is not known", root)
    version = root.get("schemaVersion")
    if version is None:
        raise refusal("attribute schemaVersion is missing", root)
    if not _DECIMAL.fullmatch(version.strip(_XML_SPACE)):
        raise refusal("schemaVersion is not a decimal number", root)


def add(parent: _Element, name: str, text: str | None = None) -> _Element:
    """Append an element of DUIS; the counterpart of `ElementReader` for what we write."""
    child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    child.text = text
    return child


def new_root(name: str, schema_version: str) -> _Element:
    root = etree.Element(f"{{{NAMESPACE}}}{name}", nsmap={"sr": NAMESPACE})
    root.set("schemaVersion", schema_version)
    return root


def compact(root: _Element) -> None:
    """Drop the white space between elements: the DCC's signing tool does, before it checks a signature."""
    for element in root.iter():
        if len(element) and element.text is not None and not element.text.strip(_XML_SPACE):
            element.text = None
        if element.tail is not None and not element.tail.strip(_XML_SPACE):
            element.tail = None


def to_octets(root: _Element) -> bytes:
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)
