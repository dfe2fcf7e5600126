"""Which service request a command for a device serves: whose answer is whose."""

from chf.duis.identifiers import RequestId
from chf.errors import MalformedRequestError
from chf.eui64 import Eui64
from chf.gbcs import GbcsMessage, MessageCode
from chf.store.device_messages import DeviceMessage


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
