"""The desk of a DCC side on a table: one document in, and its answer held to signature and schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chf.clock import Instant, Now, UtcSeconds
from chf.dcc.conversion import Conversion
from chf.dcc.desk import Address, Desk
from chf.dcc.signers import ResponseSigner, SignaturePolicy, Signers
from chf.dcc.smi import SmiDevice
from chf.duis import RequestId
from chf.duis.document import parse_document
from chf.duis.xml_signature import IssuerSerial, detach, verify
from chf.eui64 import Eui64
from chf.pki.certificates import Usage
from chf.store import DeviceType, Store
from chf.trace import Kind
from tests.support.dcc_bench import ACB, NOW, PPMID, REFERENCE, SUPPLIER, duis_schema, log_devices, make_pki

D, S, T = Address.NON_DEVICE, Address.SEND_COMMAND, Address.TRANSFORM
CARRIED = frozenset({"ESME", "GSME", "HCALCS", "PPMID"})


class DeskBench:
    def __init__(self, store, pki) -> None:
        self.store, self.pki, self.home = store, pki, store.home
        self.schema = duis_schema() if REFERENCE.exists() else None

    def convert(self, now=NOW, policy=None):
        """Every document that users are given up to then; all are valid against the schema."""
        conversion = Conversion(self.store, self.pki, ResponseSigner(self.pki), policy)
        while conversion.run(now):
            pass
        documents = self.store.uplink.list()
        if self.schema is not None:
            for document in documents:
                self.schema.check_tree(parse_document(document.document))
        return documents

    def alarms(self) -> list[str]:
        events = [record.event for record in self.store.audit.tail()]
        return [str(event.fields["reason"]) for event in events if event.kind is Kind.ALARM]

    def ask(self, request, address=None, *, document=None, now=NOW, **desk):
        """What the desk answers; the answer is signed by the ACB and valid against the schema."""
        octets = request.to_bytes() if document is None else document
        answer = Desk(self.store, self.pki, **desk).take(octets, now, address=address)
        root = parse_document(answer.document)
        if self.schema is not None:
            self.schema.check_tree(root)
        signature = detach(root)
        certificate = self.pki.certificate(ACB, Usage.DIGITAL_SIGNATURE)
        assert verify(root, signature, {IssuerSerial.of(certificate): certificate}.get) == certificate
        return answer

    def signers(self, policy=SignaturePolicy.REQUIRE) -> Signers:
        return Signers.load(self.pki.path, policy)


@contextmanager
def desk_bench(home: Path, kind: type[DeskBench] = DeskBench) -> Iterator[Any]:
    pki = make_pki(home)
    with Store.open(home) as store:
        log_devices(store)
        yield kind(store, pki)


def later(seconds: float) -> Now:
    return Now(Instant(NOW.instant + seconds), UtcSeconds(NOW.utc + seconds))


def to(device: Eui64, counter: int = 1000, originator: Eui64 = SUPPLIER) -> RequestId:
    return RequestId(originator, device, counter)


def known(device: Eui64 = PPMID, **changes) -> SmiDevice:
    return replace(SmiDevice(device, DeviceType.PPMID, manufacturer="1234", model="M1"), **changes)
