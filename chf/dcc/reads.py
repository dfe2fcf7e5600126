"""SR 11.2 for PPMIDs and HCALCSs: the CS08 command that the ACB sends on behalf of a user, at once or at his time.

A dated read is kept here, because the device keeps none; its command is made when it is due, so that its counter is
above those of all commands before it. A process that was down at the time makes it late, within the lifetime of a
command; after that, the user gets E30.
"""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from chf.clock import Now, UtcSeconds
from chf.dcc.certificates import Usage
from chf.dcc.firmware_commands import ACB_COUNTER, next_counter
from chf.dcc.pki import Pki
from chf.dcc.settings import DeskPolicy
from chf.duis.codes import ResponseCode
from chf.duis.envelope import ServiceResponse
from chf.duis.identifiers import RequestId
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.gbcs import CraFlag, GroupingHeader, MessageCode, SupplementaryRemoteParty, mac_key, make_cs08_command
from chf.store import Store
from chf.store.device_messages import NewDeviceMessage
from chf.store.scheduled import ScheduledRead
from chf.store.store import Transaction
from chf.store.uplink import NewDocument

_BATCH: Final = 100  # so that the hub never waits long for the store
SERVICE: Final = "11.2"


def mac_key_for(header: GroupingHeader, device: Eui64, pki: Pki) -> bytes:
    """Raises UsageError where the device has no key agreement certificate here."""
    public = pki.certificate(device, Usage.KEY_AGREEMENT).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return mac_key(pki.private_key(pki.acb, Usage.KEY_AGREEMENT), public, header)


def queue_read(tx: Transaction, request: RequestId, pki: Pki, policy: DeskPolicy, now: Now) -> None:
    """Raises UsageError where the device has no key agreement certificate here."""
    device, code = request.target, MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
    counter = next_counter(tx, ACB_COUNTER, now)
    party = SupplementaryRemoteParty(request.originator, request.counter)
    header = GroupingHeader(CraFlag.COMMAND, counter, pki.acb, device, code, supplementary=party)
    octets = make_cs08_command(pki.acb, device, counter, party, mac_key_for(header, device, pki))
    expires = UtcSeconds(now.utc + policy.device_message_lifetime_s)
    tx.device_messages.add(NewDeviceMessage(device, str(request), code, counter, octets, now.utc, expires))


class DatedReads:
    """Makes the commands of dated reads. Two of them in two processes make each once."""

    def __init__(self, store: Store, pki: Pki, seal: Callable[[bytes], bytes], policy: DeskPolicy) -> None:
        self._store, self._pki, self._seal, self._policy = store, pki, seal, policy

    def run(self, now: Now) -> int:
        """Returns how many reads were dealt with. Call again until it is 0."""
        reads = self._store.scheduled.due(now.utc, _BATCH)
        for read in reads:
            late = now.utc > read.due + self._policy.device_message_lifetime_s
            if late or not self._has_key(read.device):
                code = ResponseCode.TIMED_OUT if late else ResponseCode.CANNOT_COMMUNICATE
                self._give_up(read, code, now)
                continue
            with self._store.transaction() as tx:
                if tx.scheduled.done(read.id, now.utc):
                    queue_read(tx, RequestId.parse(read.request), self._pki, self._policy, now)
        return len(reads)

    def _has_key(self, device: Eui64) -> bool:
        try:
            self._pki.certificate(device, Usage.KEY_AGREEMENT)
        except UsageError:
            return False
        return True

    def _give_up(self, read: ScheduledRead, code: ResponseCode, now: Now) -> None:
        request = RequestId.parse(read.request)
        document = self._seal(ServiceResponse(request, SERVICE, code, int(now.utc)).to_bytes())
        with self._store.transaction() as tx:
            if tx.scheduled.done(read.id, now.utc):
                name = f"{request}/dated/{code.value}"
                tx.uplink.add(NewDocument(name, request.originator, read.device, "response", document, now.utc))
