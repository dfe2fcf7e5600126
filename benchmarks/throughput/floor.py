"""The link's floor: the least that a block can take on the line and in the air, whatever the host does.

Counted from the layouts: one request and one answer of a whole block, each in a frame of its own, under the network key
and the link key. On the line: what the dongle has to say of a request and of an answer, the answer, and the
host's acknowledgements. In the air: request and answer with their MAC acknowledgements, and the APS
acknowledgement that the device asks for.
docs/performance.md argues what is in and what is not.
"""

from dataclasses import dataclass

from throughput.fleet import BLOCK_BYTES

_BITS_PER_OCTET = 10  # on the line: a start bit, eight of data, a stop bit

# ZCL8 11.13.6.4: header of three octets, then field control, manufacturer, image type, version, offset, data size
_REQUEST_BYTES = 3 + 1 + 2 + 2 + 4 + 4 + 1
# ZCL8 11.13.6.8: header, then status, manufacturer, image type, version, offset, data size, data
_ANSWER_BYTES = 3 + 1 + 2 + 2 + 4 + 4 + 1 + BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class LineFloor:
    """Octets of a block on the line."""

    request: float  # to the host
    answer: float  # from the host
    outcome: float  # to the host, of the answer: that it was taken, and what became of it
    acknowledgements: float  # from the host, of frames on the line; one may follow the answer, so nothing waits for it


def _ash(ezsp_bytes: int) -> float:
    """UG101 2: control and CRC, six of 256 octets escaped (data are randomised), the flag that ends the frame.

    The dongle's acknowledgements ride on its frames. The host's may not: UG101, as bellows' ash.py quotes it.
    """
    return (ezsp_bytes + 1 + 2) * (1 + 6 / 256) + 1


_EZSP_HEADER = 5  # UG100, from v8 on: sequence, frame control in two octets, frame id in two
_EZSP_APS = 11  # UG100, EmberApsFrame

# UG100: incomingMessageHandler, sendUnicast, its response, messageSentHandler; of versions 8 to 13
EZSP = LineFloor(
    request=_ash(_EZSP_HEADER + 1 + _EZSP_APS + 1 + 1 + 2 + 1 + 1 + 1 + _REQUEST_BYTES),
    answer=_ash(_EZSP_HEADER + 1 + 2 + _EZSP_APS + 1 + 1 + _ANSWER_BYTES),
    outcome=_ash(_EZSP_HEADER + 1 + 1) + _ash(_EZSP_HEADER + 1 + 2 + _EZSP_APS + 1 + 1 + 1),
    acknowledgements=3 * _ash(0),  # of the request, sendUnicast's response and messageSentHandler
)

_MT = 1 + 1 + 2 + 1  # TI's Monitor and Test API: start, length, command, FCS

# The same: AF_INCOMING_MSG with the MAC source and radius behind its data, AF_DATA_REQUEST, its SRSP, AF_DATA_CONFIRM
ZNP = LineFloor(
    request=_MT + 2 + 2 + 2 + 1 + 1 + 1 + 1 + 1 + 4 + 1 + 1 + _REQUEST_BYTES + 3,
    answer=_MT + 2 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + _ANSWER_BYTES,
    outcome=_MT + 1 + _MT + 3,
    acknowledgements=0,
)

LINES = {"ezsp": EZSP, "znp": ZNP}

# The air, IEEE 802.15.4 at 2.4 GHz: 250 kb/s, six octets before a frame, an FCS of two
_OCTET_S = 32e-6
_PHY_OCTETS = 6
_BACKOFF_S = 3.5 * 320e-6  # on average, of 0 to 7 units (macMinBE 3)
_CCA_AND_TURNAROUND_S = 128e-6 + 192e-6
_ACK_AND_SPACING_S = 192e-6 + (_PHY_OCTETS + 5) * _OCTET_S + 640e-6  # macMinLIFSPeriod

_MAC, _FCS = 9, 2  # short addresses, one PAN identifier
_NWK = 8 + 14 + 4  # Zigbee PRO 3.3.1 and 4.5.1: header, auxiliary header with extended nonce, MIC of 32 bits
_APS = 8 + 5 + 4  # Zigbee PRO 2.2.5.1 and 4.5.1: header, auxiliary header, MIC; of an acknowledgement the same


def _sent_s(aps_payload: int) -> float:
    """From the wish to send until the last octet was heard, on a channel that is free."""
    octets = _PHY_OCTETS + _MAC + _NWK + _APS + aps_payload + _FCS
    return _BACKOFF_S + _CCA_AND_TURNAROUND_S + octets * _OCTET_S


_REQUEST_S, _ANSWER_S, _APS_ACK_S = _sent_s(_REQUEST_BYTES), _sent_s(_ANSWER_BYTES), _sent_s(0)
AIR_S = _REQUEST_S + _ANSWER_S + _APS_ACK_S + 3 * _ACK_AND_SPACING_S
"""How long a block has the channel, which is one for all."""


def block_s(radio: str, baudrate: int, devices: int) -> float:
    """The least time from block to block, with so many devices that ask for the next as soon as they have one.

    For one, each step waits for the one before, but for the outcome on the line and the APS acknowledgement. For many,
    the busiest of air and line decides.
    """
    line, octet_s = LINES[radio], _BITS_PER_OCTET / baudrate
    one_after_another = _REQUEST_S + line.request * octet_s + line.answer * octet_s + _ANSWER_S + _ACK_AND_SPACING_S
    to_host, from_host = (line.request + line.outcome) * octet_s, (line.answer + line.acknowledgements) * octet_s
    return max(one_after_another / devices, AIR_S, to_host, from_host)


def line_octets(radio: str) -> float:
    line = LINES[radio]
    return line.request + line.answer + line.outcome + line.acknowledgements
