"""XML signatures: whose are accepted, and the one that the DCC puts under its answers.

Validity dates are not judged, because nothing public says how the DCC does (docs/supported-spec.md, DUIS).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from lxml import etree
from lxml.etree import _Element

from chf.duis.document import compact, parse_document
from chf.duis.xml_signature import DetachedSignature, IssuerSerial, sign, verify
from chf.errors import RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.pki.certificates import Usage, identity, load_certificates
from chf.pki.gbcs import Pki

_ENDINGS: Final = frozenset({".pem", ".crt", ".cer", ".der"})


class SignaturePolicy(StrEnum):
    """REQUIRE: signed by a known certificate of the originator. ACCEPT: unsigned and unknown signers pass, noted."""

    REQUIRE = "require"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True)
class Signers:
    certificates: Mapping[IssuerSerial, x509.Certificate]
    policy: SignaturePolicy
    unusable: tuple[str, ...] = ()
    """Files that were passed over, and why."""

    @classmethod
    def load(cls, directory: Path, policy: SignaturePolicy) -> "Signers":
        """Every certificate for digital signatures of the directory. Raises UsageError where there is none."""
        found: dict[IssuerSerial, x509.Certificate] = {}
        unusable: list[str] = []
        try:
            paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in _ENDINGS)
        except OSError as error:
            raise UsageError(f"cannot read {directory}: {error.strerror}") from error
        for path in paths:
            try:
                for certificate in load_certificates(path):
                    if _signs_documents(certificate, path):
                        found[IssuerSerial.of(certificate)] = certificate
            except FileNotFoundError:
                continue
            except UsageError as error:
                unusable.append(str(error))
        if not found:
            raise UsageError("; ".join([f"{directory} holds no certificate for digital signatures", *unusable]))
        return cls(found, policy, tuple(unusable))

    def check(self, root: _Element, signature: DetachedSignature | None, originator: Eui64) -> str | None:
        """None where the originator signed this document; what is worth a note, where the policy lets it pass.

        Raises RefusedError. A signature that a known certificate contradicts is refused under either policy.
        """
        if signature is None:
            return self._not_known("the request is not signed")
        if signature.signer not in self.certificates:
            return self._not_known(f"the request is signed with a certificate that is not known: {signature.signer}")
        certificate = verify(root, signature, self.certificates.get)
        signer, _, _ = identity(certificate)
        if signer != originator:
            raise RefusedError(f"the request is of {format_eui64(originator)}, and signed by {format_eui64(signer)}")
        return None

    def _not_known(self, reason: str) -> str:
        if self.policy is SignaturePolicy.REQUIRE:
            raise RefusedError(reason)
        return reason


NOBODY: Final = Signers({}, SignaturePolicy.ACCEPT)


def _signs_documents(certificate: x509.Certificate, path: Path) -> bool:
    """Authorities and key agreement certificates lie in such directories too, and are passed over."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        return not usage.key_cert_sign and identity(certificate)[2] is Usage.DIGITAL_SIGNATURE
    except x509.ExtensionNotFound:
        raise UsageError(f"{path} does not say what its key is for (KeyUsage)") from None
    except (UsageError, ValueError) as error:  # ValueError: extensions are parsed when they are asked for
        raise UsageError(f"{path}: {error}") from None


class ResponseSigner:
    """Puts the DCC's signature under what it sends to users, with the ACB's key of the test PKI."""

    def __init__(self, pki: Pki) -> None:
        self._key = pki.private_key(pki.acb, Usage.DIGITAL_SIGNATURE)
        self._certificate = pki.certificate(pki.acb, Usage.DIGITAL_SIGNATURE)

    def __call__(self, document: bytes) -> bytes:
        root = parse_document(document)
        compact(root)
        sign(root, self._key, self._certificate)
        return etree.tostring(root, encoding="UTF-8", xml_declaration=True)
