"""GBCS commands about firmware, made with the test PKI: the supplier signs, the ACB adds its MAC (RTDS).

They are made for people without a DUIS client and for service requests. What is made here becomes a row of
`device_messages`; the hub sends it.
"""

from collections.abc import Mapping
from typing import Final

from chf.clock import Now, UtcSeconds
from chf.duis.identifiers import RequestId
from chf.errors import MalformedRequestError
from chf.eui64 import Eui64
from chf.gbcs import (
    CraFlag,
    GbcsMessage,
    GroupingHeader,
    MessageCode,
    SupplementaryRemoteParty,
    add_mac,
    mac_key,
    make_cs06_precommand,
    make_version_command,
    sign,
)
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store.device_log import DeviceType
from chf.store.device_messages import DeviceMessage, NewDeviceMessage
from chf.store.store import Transaction

MESSAGE_LIFETIME_S = 86_400.0
"""How long a command waits for its device: the queue timeout of a deployed hub (SL-CHF)."""

ORIGIN = "cli"


ACB_COUNTER = "acb originator counter"
SUPPLIER_COUNTER = "test supplier originator counter"
"""Names of counters in the store, one for each originator, so that no number is used twice."""


VERSION_USE_CASES: Final[Mapping[DeviceType, MessageCode]] = {
    DeviceType.PPMID: MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION,  # CS08
    DeviceType.HCALCS: MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION,
    DeviceType.ESME: MessageCode.READ_FIRMWARE_VERSION_ESME_CHF,  # ECS52
    DeviceType.GSME: MessageCode.READ_FIRMWARE_VERSION_GSME,  # GCS38
}
"""By which use case a device is asked what it runs (SR 11.2)."""


def next_counter(tx: Transaction, name: str, now: Now) -> int:
    """An originator counter that was never used: the milliseconds of the wall clock are where it starts at least."""
    return tx.counters.take(name, first=int(now.utc * 1000))


def cs06(
    pki: Pki, device: Eui64, counter: int, manufacturer_image_hash: bytes, execution_utc: UtcSeconds | None = None
) -> bytes:
    """Activate Firmware, signed and with its MAC. Raises UsageError where the PKI lacks the device's certificate."""
    command = make_cs06_precommand(pki.supplier, device, counter, manufacturer_image_hash, execution_utc)
    signed = sign(command, pki.private_key(pki.supplier, Usage.DIGITAL_SIGNATURE))
    return add_mac(signed, mac_key_for(pki, signed.header)).to_bytes()


def read_version(
    tx: Transaction,
    pki: Pki,
    device: Eui64,
    device_type: DeviceType,
    now: Now,
    *,
    asked: RequestId | None = None,
    supplier: Eui64 | None = None,
    lifetime_s: float = MESSAGE_LIFETIME_S,
) -> NewDeviceMessage:
    """The command that asks a device of a type of `VERSION_USE_CASES` what it runs, under a counter of its own.

    It serves the SR 11.2 `asked`, or without one the test supplier. A meter is asked by `supplier`, whom it knows; a
    PPMID or HCALCS, and a meter on behalf of anybody else, by the ACB. Raises UsageError where the device has no key
    agreement certificate here.
    """
    code, supplier = VERSION_USE_CASES[device_type], supplier or pki.supplier
    is_cs08 = code is MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
    if not is_cs08 and (asked is None or asked.originator == supplier):
        counter = next_counter(tx, SUPPLIER_COUNTER, now) if asked is None else asked.counter
        header = GroupingHeader(CraFlag.COMMAND, counter, supplier, device, code)
    else:
        counter = next_counter(tx, ACB_COUNTER, now)
        behalf = (pki.supplier, counter) if asked is None else (asked.originator, asked.counter)
        party = SupplementaryRemoteParty(*behalf)
        header = GroupingHeader(CraFlag.COMMAND, counter, pki.acb, device, code, supplementary=party)
    octets, request = make_version_command(header, mac_key_for(pki, header)), ORIGIN if asked is None else str(asked)
    return NewDeviceMessage(device, request, code, counter, octets, now.utc, UtcSeconds(now.utc + lifetime_s))


def row(device: Eui64, code: MessageCode, counter: int, message: bytes, now: Now) -> NewDeviceMessage:
    expires = UtcSeconds(now.utc + MESSAGE_LIFETIME_S)
    return NewDeviceMessage(device, ORIGIN, code, counter, message, now.utc, expires)


def mac_key_for(pki: Pki, command: GroupingHeader) -> bytes:
    """Of ACB and device. Raises UsageError where the device has no key agreement certificate here."""
    public = pki.public_key(Eui64(command.recipient), Usage.KEY_AGREEMENT)
    return mac_key(pki.private_key(pki.acb, Usage.KEY_AGREEMENT), public, command)


def request_of(row: DeviceMessage) -> RequestId | None:
    """The RequestID that came with the command. A supplier's command that came without one stands for its own.

    None for a command that the ACB sent for somebody at this desk, who reads here what becomes of it. Raises
    MalformedMessageError for a row whose octets are no command.
    """
    try:
        return RequestId.parse(row.request)
    except MalformedRequestError:
        header = GbcsMessage.from_bytes(row.message).header
    if header.supplementary is not None:
        return None
    return RequestId(Eui64(header.originator), row.device, header.counter)


def service_of(message_code: int) -> str:
    """The service reference of the requests that cause such commands."""
    return "11.3" if message_code == MessageCode.ACTIVATE_FIRMWARE else "11.2"
