"""Validation against the DCC's own schema files, where the user has them; they are not part of this program.

The schema imports two others, one by a name with spaces, which libxml2 does not resolve (measured, libxml2 2.14),
so the imports are pointed at plain names, which are resolved from memory. Schema files are trusted, unlike messages:
one of them starts with a DOCTYPE.
"""

from collections.abc import Mapping
from typing import Any

from lxml import etree
from lxml.etree import _Element

from chf.duis.document import NAMESPACE, parse_document
from chf.errors import MalformedRequestError, UsageError

_XS = "http://www.w3.org/2001/XMLSchema"  # XML Schema


class _InMemory(etree.Resolver):
    """Answers for the files that were given, and for nothing else."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self._files = files

    def resolve(self, system_url: str, public_id: str, context: Any = None) -> Any:
        del public_id
        name = system_url.rsplit("/", 1)[-1]
        return self.resolve_string(self._files.get(name, b""), context, base_url=system_url)


class DuisSchema:
    """A loaded schema. `files` maps file names to contents; `main` names the one for DUIS."""

    def __init__(self, files: Mapping[str, bytes], main: str) -> None:
        if main not in files:
            raise UsageError(f"{main} is not among the schema files")
        plain = {name: f"schema-{number}.xsd" for number, name in enumerate(sorted(files))}
        try:
            rewritten = {plain[name]: _with_plain_imports(content, plain) for name, content in files.items()}
            parser = _schema_parser()
            parser.resolvers.add(_InMemory(rewritten))
            self._schema = etree.XMLSchema(etree.fromstring(rewritten[plain[main]], parser, base_url=plain[main]))
        except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
            raise UsageError(f"{main} is not a schema that can be loaded: {str(error)[:200]}") from error

    def check(self, octets: bytes) -> None:
        """Raises MalformedRequestError with the schema's own words for the first thing that is wrong."""
        self.check_tree(parse_document(octets))

    def check_tree(self, root: _Element) -> None:
        """The same, of a document that is parsed already."""
        try:
            self._schema.assertValid(root)
        except etree.DocumentInvalid as error:
            words = str(error).replace(f"{{{NAMESPACE}}}", "")
            raise MalformedRequestError(f"against the schema: {words[:300]}") from None


def _schema_parser() -> etree.XMLParser:
    return etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)


def _with_plain_imports(content: bytes, plain: Mapping[str, str]) -> bytes:
    root = etree.fromstring(content, _schema_parser())
    for element in root.iter(f"{{{_XS}}}import", f"{{{_XS}}}include"):
        location = element.get("schemaLocation")
        if location is None:
            continue
        if location not in plain:
            raise UsageError(f"the schema needs {location[:80]!r}, which is not among the files")
        element.set("schemaLocation", plain[location])
    return etree.tostring(root)
