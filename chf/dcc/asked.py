"""Which service request a command for a device serves: whose answer is whose."""

from chf.duis.identifiers import RequestId
from chf.errors import MalformedRequestError
from chf.eui64 import Eui64
from chf.gbcs import GbcsMessage, MessageCode
from chf.store.device_messages import DeviceMessage


def request_of(row: DeviceMessage) -> RequestId:
    """The RequestID that came with the command; made of the command itself where it came without one.

    Raises MalformedMessageError for a row whose octets are no command.
    """
    try:
        return RequestId.parse(row.request)
    except MalformedRequestError:
        header = GbcsMessage.from_bytes(row.message).header
    party = header.supplementary  # for whom the ACB speaks, where it does
    if party is not None:
        return RequestId(Eui64(party.entity_id), row.device, party.counter)
    return RequestId(Eui64(header.originator), row.device, header.counter)


def service_of(message_code: int) -> str:
    """The service reference of the requests that cause such commands."""
    return "11.3" if message_code == MessageCode.ACTIVATE_FIRMWARE else "11.2"
