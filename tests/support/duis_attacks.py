"""Documents that attack whoever parses them, and signed documents that were tampered with.

`attacks` wants any service request, `wrappings` a signed one whose signature holds; both as text.
"""

from collections.abc import Mapping

LARGEST = 15_500_000
C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
DSIG = "http://www.w3.org/2000/09/xmldsig#"

BILLION_LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]><x>&j;</x>"
)


def attacks(text: str, version: str, file: str = "/etc/passwd", url: str = "http://127.0.0.1:9/x") -> dict[str, bytes]:
    """`version` is the FirmwareVersion in `text`; `file` and `url` are what a careless parser would open."""
    assert version in text

    def instead(new: str, old: str = version) -> bytes:
        assert old in text, "the attack no longer fits the document"
        return text.replace(old, new, 1).encode()

    return {
        "billion laughs": BILLION_LAUGHS.encode(),
        "billion laughs in an attribute": BILLION_LAUGHS.replace("<x>&j;", "<x a='&j;'>").encode(),
        "quadratic blow-up": b"<!DOCTYPE x [<!ENTITY a '" + b"a" * 100_000 + b"'>]><x>" + b"&a;" * 100_000 + b"</x>",
        "external entity": f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{file}">]><x>&a;</x>'.encode(),
        "external entity by http": f'<!DOCTYPE x [<!ENTITY a SYSTEM "{url}">]><x>&a;</x>'.encode(),
        "external entity in its place": instead(
            f'<!DOCTYPE sr:Request [<!ENTITY a SYSTEM "file://{file}">]><sr:Request', "<sr:Request"
        ).replace(version.encode(), b"&a;"),
        "parameter entity": f'<!DOCTYPE x [<!ENTITY % a SYSTEM "{url}">%a;]><x/>'.encode(),
        "external dtd": f'<!DOCTYPE x SYSTEM "{url}"><x/>'.encode(),
        "external dtd in a file": f'<!DOCTYPE x SYSTEM "file://{file}"><x/>'.encode(),
        "bare doctype": instead("<!DOCTYPE x><sr:Request", "<sr:Request"),
        "undefined entity": instead("&nowhere;"),
        "doctype in utf-16": '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><x/>'.encode("utf-16"),
        "doctype in utf-7": b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE x+AD4-<x/>',
        "declares another encoding": b'<?xml version="1.0" encoding="ISO-8859-1"?><a>' + b"\xe9" * 9 + b"</a>",
        "invalid utf-8": instead("@").replace(b"@", b"\xff\xfe"),
        "nul": instead("01\x0023"),
        "deep": b"<a>" * 300_000 + b"</a>" * 300_000,
        "deep and never closed": b"<a>" * 300_000,
        "deep in a legal place": instead("<a>" * 33 + "</a>" * 33),
        "300,000 deep in a legal place": instead("<a>" * 300_000 + "</a>" * 300_000),
        "wide": b"<a>" + b"<b/>" * 3_000_000 + b"</a>",
        "long attribute": b"<a b='" + b"c" * 12_000_000 + b"'/>",
        "long comment": b"<a><!--" + b"c" * 12_000_000 + b"--></a>",
        "long name": b"<" + b"a" * 12_000_000 + b"/>",
        "many attributes": b"<a " + b" ".join(b"a%d='1'" % n for n in range(50_000)) + b"/>",
        "many namespaces": b"<a " + b" ".join(b"xmlns:a%d='u'" % n for n in range(50_000)) + b"/>",
        "too large": b"<a>" + b" " * LARGEST + b"</a>",
        "processing instruction first": instead("<?go now?><sr:Request", "<sr:Request"),
        "processing instruction inside": instead("<?go now?><sr:Body>", "<sr:Body>"),
        "processing instruction last": (text + "<?go now?>").encode(),
        "style sheet": instead(f'<?xml-stylesheet href="{url}"?><sr:Request', "<sr:Request"),
        "inclusion": f"<x xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='{file}' parse='text'/></x>".encode(),
        "inclusion in its place": instead(
            f"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{file}' parse='text'/>"
        ),
        "schema of its own": instead(
            f"<sr:Request xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='urn:x file://{file}"
            f" urn:y {url}' xsi:noNamespaceSchemaLocation='file://{file}'",
            "<sr:Request",
        ).replace(b"<sr:Body>", b"<sr:Body><x xmlns='urn:x'/>"),
        "base of its own": instead(f"<sr:Request xml:base='{url}'", "<sr:Request"),
        "two roots": (text + "<x/>").encode(),
        "half a document": text[: len(text) // 2].encode(),
        "nothing": b"",
        "white space": b"  \n ",
        "control character by reference": instead("&#x1;"),
        "nul by reference": instead("&#x0;"),
        "wrong namespace": text.replace("dccinterface.co.uk/ServiceUserGateway", "dccinterface.co.uk/Gateway").encode(),
        "no namespace": text.replace("sr:", "").replace("xmlns:sr=", "x=").encode(),
        "prefix bound again": instead("<sr:Body xmlns:sr='urn:elsewhere'>", "<sr:Body>"),
    }


def duplicates(text: str) -> dict[str, bytes]:
    """Each element of a request, twice."""
    names = ("Header", "RequestID", "CommandVariant", "ServiceReference", "Body", "UpdatePPMIDFirmware")
    found = {}
    for name in (*names, "FirmwareImage", "FirmwareVersion", "DeviceIDList"):
        start, end = text.index(f"<sr:{name}>"), text.index(f"</sr:{name}>") + len(f"</sr:{name}>")
        found[f"{name} twice"] = (text[:end] + text[start:end] + text[end:]).encode()
    return found


def wrappings(signed: str, version: str) -> dict[str, str]:
    """What an attacker makes of a signed document that he cannot sign; `version` is its FirmwareVersion."""
    signature = signed[signed.index("<ds:Signature ") : signed.index("</ds:Signature>") + len("</ds:Signature>")]
    unsigned = signed.replace(signature, "")
    root = unsigned[unsigned.index("<sr:Request") :]
    body = unsigned[unsigned.index("<sr:Body>") : unsigned.index("</sr:Body>") + len("</sr:Body>")]
    forged = unsigned.replace(version, "6660BAD0")
    assert forged != unsigned
    info = signature[signature.index("<ds:SignedInfo>") : signature.index("</ds:SignedInfo>") + len("</ds:SignedInfo>")]
    transforms = "</ds:Transforms>"

    def within(document: str, old: str, new: str) -> str:
        assert old in document, f"{old} is not in the document any more"
        return document.replace(old, new, 1)

    def at_end(document: str, inside: str) -> str:
        return within(document, "</sr:Request>", inside + "</sr:Request>")

    def with_object(content: str, of: str = signature) -> str:
        return within(of, "</ds:KeyInfo>", f"</ds:KeyInfo><ds:Object>{content}</ds:Object>")

    def to_id(of: str, name: str = "Id") -> str:
        del name
        return within(of, 'URI=""', 'URI="#signed"')

    identified = within(root, "<sr:Request ", '<sr:Request Id="signed" ')
    lower = within(root, "<sr:Request ", '<sr:Request xml:id="signed" ')
    return {
        "signature before the body": within(unsigned, "<sr:Body>", signature + "<sr:Body>"),
        "signature inside the body": within(unsigned, "</sr:Body>", signature + "</sr:Body>"),
        "signature inside the header": within(unsigned, "</sr:Header>", signature + "</sr:Header>"),
        "signature outside the root": unsigned + signature,
        "a second signature": at_end(signed, signature),
        "a second signature that is empty": at_end(signed, f'<ds:Signature xmlns:ds="{DSIG}"/>'),
        "an empty signature first": within(
            signed, "<ds:Signature ", f'<ds:Signature xmlns:ds="{DSIG}"/><ds:Signature '
        ),
        "a signature inside the signature": within(signed, "</ds:KeyInfo>", "</ds:KeyInfo>" + signature),
        "the signed document inside the signature": at_end(forged, with_object(root)),
        "the signed document inside, by Id": at_end(forged, with_object(identified, to_id(signature))),
        "the signed document inside, by xml:id": at_end(forged, with_object(lower, to_id(signature))),
        "the signed document around the forged": within(
            signed, "</sr:Body>", "</sr:Body>" + forged[forged.index("<sr:Req") :]
        ),
        "the signed document beside the forged body": at_end(forged, root + signature),
        "the signed body, and a forged one before it": within(
            signed, "<sr:Body>", forged[forged.index("<sr:Body>") : forged.index("</sr:Body>")] + "</sr:Body><sr:Body>"
        ),
        "a second body after the signature": at_end(signed, body),
        "a second RequestID": within(
            signed,
            "<sr:RequestID>",
            "<sr:RequestID>90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:9</sr:RequestID><sr:RequestID>",
        ),
        "reference to an id": within(signed, 'URI=""', 'URI="#body"'),
        "reference by XPointer": within(signed, 'URI=""', 'URI="#xpointer(/)"'),
        "reference to nothing": within(signed, ' URI=""', ""),
        "reference to a file": within(signed, 'URI=""', 'URI="file:///etc/passwd"'),
        "reference by http": within(signed, 'URI=""', 'URI="http://127.0.0.1:9/"'),
        "reference with an id": within(signed, 'URI=""', 'URI="" Id="x"'),
        "reference with a type": within(signed, 'URI=""', f'URI="" Type="{DSIG}Object"'),
        "two references": within(signed, "</ds:Reference>", '</ds:Reference><ds:Reference URI=""/>'),
        "no reference": signed[: signed.index("<ds:Reference ")] + signed[signed.index("</ds:SignedInfo>") :],
        "an empty reference": signed[: signed.index("<ds:Transforms>")] + signed[signed.index("</ds:Reference>") :],
        "manifest": at_end(forged, with_object("<ds:Manifest><ds:Reference URI=''/></ds:Manifest>")),
        "xpath transform": within(signed, ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116"),
        "xpath filter": within(
            signed, transforms, '<ds:Transform Algorithm="http://www.w3.org/2002/06/xmldsig-filter2"/>' + transforms
        ),
        "base64 transform": within(signed, transforms, f'<ds:Transform Algorithm="{DSIG}base64"/>' + transforms),
        "stylesheet transform": within(
            signed, transforms, '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>' + transforms
        ),
        "enveloped twice": within(signed, transforms, f'<ds:Transform Algorithm="{ENVELOPED}"/>' + transforms),
        "enveloped last": within(signed, "<ds:Transforms>", f'<ds:Transforms><ds:Transform Algorithm="{C14N}"/>'),
        "c14n 1.1 in the transforms": within(
            signed, transforms, '<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>' + transforms
        ),
        "c14n with comments in the transforms": within(
            signed, transforms, f'<ds:Transform Algorithm="{C14N}WithComments"/>' + transforms
        ),
        "three transforms": within(signed, transforms, f'<ds:Transform Algorithm="{C14N}"/>' * 2 + transforms),
        "no transform": signed.replace("<ds:Transforms>", "<ds:Nothing>").replace("</ds:Transforms>", "</ds:Nothing>"),
        "c14n with comments": within(signed, f'"{C14N}"', f'"{C14N}WithComments"'),
        "inclusive c14n": within(signed, f'"{C14N}"', '"http://www.w3.org/TR/2001/REC-xml-c14n-20010315"'),
        "prefix list": within(
            signed,
            f'<ds:CanonicalizationMethod Algorithm="{C14N}"/>',
            f'<ds:CanonicalizationMethod Algorithm="{C14N}"><ec:InclusiveNamespaces'
            f' xmlns:ec="{C14N}" PrefixList="sr"/></ds:CanonicalizationMethod>',
        ),
        "hmac with a public key": within(signed, "more#ecdsa-sha256", "more#hmac-sha256"),
        "hmac of no length": within(
            signed,
            '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>',
            f'<ds:SignatureMethod Algorithm="{DSIG}hmac-sha1"><ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>',
        ),
        "rsa": within(signed, "more#ecdsa-sha256", "more#rsa-sha256"),
        "ecdsa with sha-1": within(signed, "more#ecdsa-sha256", "more#ecdsa-sha1"),
        "no algorithm": within(signed, ' Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"', ""),
        "sha-1 digest": within(signed, "http://www.w3.org/2001/04/xmlenc#sha256", f"{DSIG}sha1"),
        "brings its own key": within(signed, "<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyValue/>"),
        "brings its own certificate": within(
            signed, "</ds:X509IssuerSerial>", "</ds:X509IssuerSerial><ds:X509Certificate/>"
        ),
        "retrieval method": within(
            signed, "<ds:KeyInfo>", '<ds:KeyInfo><ds:RetrievalMethod URI="http://127.0.0.1:9/"/>'
        ),
        "two signers": within(signed, "</ds:X509Data>", "</ds:X509Data><ds:X509Data/>"),
        "no key info": signed[: signed.index("<ds:KeyInfo>")] + "</ds:Signature></sr:Request>",
        "two signed infos": within(signed, "</ds:SignedInfo>", "</ds:SignedInfo>" + info),
        "serial with a sign": within(signed, "<ds:X509SerialNumber>", "<ds:X509SerialNumber>-"),
        "endless serial": within(signed, "<ds:X509SerialNumber>", "<ds:X509SerialNumber>" + "9" * 5000),
        "comment in the digest": within(signed, "<ds:DigestValue>", "<ds:DigestValue><!-- -->"),
        "comment in the serial": within(signed, "</ds:X509SerialNumber>", "<!-- -->1</ds:X509SerialNumber>"),
        # The digest leaves comments out, so a text that a comment cuts in two would still fit its signature.
        "comment in the RequestID": within(signed, ":1000<", ":10<!-- -->00<"),
        "comment in the version": within(signed, version, version[:4] + "<!-- -->" + version[4:]),
        "comment in the device list": within(signed, "</sr:DeviceIDList>", "<!-- --></sr:DeviceIDList>"),
        "comment in the service": within(signed, "11.4<", "11.<!-- -->4<"),
        "text in the signature": within(signed, "<ds:KeyInfo>", "stray<ds:KeyInfo>"),
        "empty signature": at_end(unsigned, f"<ds:Signature xmlns:ds='{DSIG}'/>"),
        "signature of another namespace": signed.replace(f'xmlns:ds="{DSIG}"', 'xmlns:ds="urn:elsewhere"'),
    }


def changed_content(signed: str, version: str) -> Mapping[str, str]:
    """Well formed and in order, and not what was signed."""
    value = signed[
        signed.index("<ds:SignatureValue>") + len("<ds:SignatureValue>") : signed.index("</ds:SignatureValue>")
    ]
    zero = "A" * 86 + "=="
    return {
        "another version": signed.replace(version, "6660BAD0", 1),
        "another counter": signed.replace(":1000<", ":1001<", 1),
        "another prefix": signed.replace("sr:", "rs:").replace("xmlns:sr=", "xmlns:rs="),
        "another schemaVersion": signed.replace('schemaVersion="5.4"', 'schemaVersion="5.40"'),
        "another namespace declared": signed.replace("<sr:Request ", '<sr:Request xmlns:y="urn:y" ', 1),
        "text between elements": signed.replace("<sr:Body>", "\n<sr:Body>", 1),
        "r and s of nought": signed.replace(value, zero),
        "no signature value": signed.replace(value, ""),
        "half a signature value": signed.replace(value, "A" * 43 + "="),
        "a signature value in DER": signed.replace(value, "MAYCAQECAQE="),
    }
