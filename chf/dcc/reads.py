"""SR 11.2: the command that reads a version, at once or at the time that the user named.

A dated read is kept here, because the device cannot keep it. Its command is made when it is due, so that its counter is
above those of all earlier commands. If the process was down at that time, the command is made late, within a command's
lifetime; after that the user gets E30.
"""

from collections.abc import Callable, Mapping
from typing import Final

from chf.clock import Now
from chf.dcc.firmware_commands import VERSION_USE_CASES, read_version
from chf.dcc.settings import DeskPolicy
from chf.dcc.smi import Smi, SmiDevice
from chf.duis.codes import ResponseCode
from chf.duis.envelope import ServiceResponse
from chf.duis.identifiers import RequestId
from chf.errors import DamagedRowError, UsageError
from chf.eui64 import Eui64
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.scheduled import ScheduledRead
from chf.store.store import Transaction
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind

_BATCH: Final = 100  # so that the hub never waits long for the store
SERVICE: Final = "11.2"


def supplier_of(device: Eui64, smi: Mapping[Eui64, SmiDevice] | None, pki: Pki) -> Eui64:
    """Whom the device knows as its supplier."""
    known = None if smi is None else smi.get(device)
    return pki.supplier if known is None or known.supplier is None else known.supplier


class DatedReads:
    """Makes the commands of dated reads. Two of them in two processes make each once."""

    def __init__(self, store: Store, pki: Pki, sign: Callable[[bytes], bytes], policy: DeskPolicy) -> None:
        self._store, self._pki, self._sign, self._policy = store, pki, sign, policy
        self._smi = Smi(store.home)

    def run(self, now: Now) -> int:
        """Returns how many reads were dealt with. Call again until it is 0: none is due by a clock without trust."""
        if not now.trusted:
            return 0
        reads = self._store.scheduled.due(now.utc, _BATCH)
        smi = self._smi.devices() if reads else None
        for read in reads:
            try:
                with self._store.transaction() as tx:
                    if tx.scheduled.done(read.id, now.utc):
                        self._make(tx, read, smi, now)
            except DamagedRowError as error:
                self._pass_over(read.id, error, now)
        for row in reads.unreadable:
            self._pass_over(int(row.key), row, now)
        return len(reads) + len(reads.unreadable)

    def _pass_over(self, number: int, because: object, now: Now) -> None:
        with self._store.transaction() as tx:
            tx.scheduled.done(number, now.utc)
            tx.audit.append(Event(now.utc, Kind.ALARM, None, None, {"reason": f"nothing is read: {because}"}))

    def _make(self, tx: Transaction, read: ScheduledRead, smi: Mapping[Eui64, SmiDevice] | None, now: Now) -> None:
        request, entry = RequestId.parse(read.request), tx.devices.get(read.device)
        late = now.utc > read.due + self._policy.device_message_lifetime_s
        if late or entry is None or entry.device_type not in VERSION_USE_CASES or not self._has_key(read.device):
            code = ResponseCode.TIMED_OUT if late else ResponseCode.CANNOT_COMMUNICATE
            document = self._sign(ServiceResponse(request, SERVICE, code, int(now.utc)).to_bytes())
            name = f"{request}/dated/{code.value}"
            tx.uplink.add(NewDocument(name, request.originator, read.device, "response", document, now.utc))
            return
        supplier = supplier_of(read.device, smi, self._pki)
        lifetime_s = self._policy.device_message_lifetime_s
        kind = entry.device_type
        tx.device_messages.add(
            read_version(tx, self._pki, read.device, kind, now, asked=request, supplier=supplier, lifetime_s=lifetime_s)
        )

    def _has_key(self, device: Eui64) -> bool:
        try:
            self._pki.certificate(device, Usage.KEY_AGREEMENT)
        except UsageError:
            return False
        return True
