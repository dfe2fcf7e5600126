"""The GBCS message: grouping header, payload, signature, and MAC where there is one (RTDS).

    [ DD 00*6 len 11 00*4 ]
    DF  09 CRA counter  08 originator  08 recipient  date-time  other-information  length payload  40 r||s
    [ MAC ]

Framing only. What a payload says is in `use_cases`, who signed it in `security`. A message that parses is encoded again
to the same octets, so that a relayed alert cannot be changed by having been read.
"""

from dataclasses import dataclass
from typing import Self

from chf.errors import MalformedMessageError
from chf.gbcs.codes import CraFlag
from chf.gbcs.cursor import Cursor, encode_length

SIGNATURE_OCTETS = 64  # r || s, P-256
MAC_OCTETS = 12
DATE_TIME_OCTETS = 12  # COSEM date-time
LARGEST_MESSAGE_OCTETS = 0xFFFF

_GENERAL_SIGNING = b"\xdf"  # tag of the Grouping Header, RTDS
_MAC_START = bytes.fromhex("DD000000000000")  # MAC Header, RTDS
_MAC_SECURITY = bytes.fromhex("1100000000")  # security control byte, invocation counter
_TRANSACTION_ID_OCTETS = 9
_ENTITY_ID_OCTETS = 8  # IEEE EUI-64
_MESSAGE_CODE_OCTETS = 2  # RTDS
_DER_SEQUENCE = 0x30  # X.690 8.9


@dataclass(frozen=True, slots=True)
class SupplementaryRemoteParty:
    """On whose behalf the ACB sends a non-critical command: identity, counter, and at most one of the last two.

    Public parsers take a message that names the party alone, without a counter, and so do we.
    """

    entity_id: int
    counter: int | None
    originator_counter: int | None = None
    key_agreement_certificate: bytes = b""

    def to_bytes(self) -> bytes:
        if self.counter is None:
            return self.entity_id.to_bytes(8, "big")
        tail = self.key_agreement_certificate
        if self.originator_counter is not None:
            tail = self.originator_counter.to_bytes(8, "big")
        return self.entity_id.to_bytes(8, "big") + self.counter.to_bytes(8, "big") + tail

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        entity_id = cursor.uint(_ENTITY_ID_OCTETS, "SupplementaryRemotePartyID")
        if not cursor.remaining:
            return cls(entity_id, None)
        counter = cursor.uint(8, "SupplementaryRemotePartyCounter")
        match cursor.remaining:
            case 0:
                return cls(entity_id, counter)
            case 8:
                return cls(entity_id, counter, cursor.uint(8, "SupplementaryOriginatorCounter"))
            case _:
                return cls(entity_id, counter, key_agreement_certificate=_read_certificate(cursor))


@dataclass(frozen=True, slots=True)
class GroupingHeader:
    """Who says what kind of thing to whom, under which counter. All numbers are big-endian on the wire."""

    cra: CraFlag
    counter: int
    """OriginatorCounter; a response carries the counter of its command."""
    originator: int
    recipient: int
    message_code: int
    """A MessageCode where this bench knows it; any u16 is carried."""
    date_time: bytes = b""
    """A COSEM date-time of 12 octets in CS06 responses, else nothing."""
    supplementary: SupplementaryRemoteParty | None = None

    @property
    def transaction_id(self) -> bytes:
        return bytes([_TRANSACTION_ID_OCTETS, self.cra]) + self.counter.to_bytes(8, "big")

    def to_bytes(self) -> bytes:
        """From the transaction id's length to the end of the other-information."""
        other = self.message_code.to_bytes(2, "big")
        if self.supplementary is not None:
            other += self.supplementary.to_bytes()
        return b"".join(
            (
                self.transaction_id,
                bytes([_ENTITY_ID_OCTETS]),
                self.originator.to_bytes(8, "big"),
                bytes([_ENTITY_ID_OCTETS]),
                self.recipient.to_bytes(8, "big"),
                bytes([len(self.date_time)]),
                self.date_time,
                encode_length(len(other)),
                other,
            )
        )

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        cursor.expect(bytes([_TRANSACTION_ID_OCTETS]), "transaction id length")
        cra = _read_cra(cursor)
        counter = cursor.uint(8, "OriginatorCounter")
        cursor.expect(bytes([_ENTITY_ID_OCTETS]), "OriginatorID length")
        originator = cursor.uint(8, "OriginatorID")
        cursor.expect(bytes([_ENTITY_ID_OCTETS]), "RecipientID length")
        recipient = cursor.uint(8, "RecipientID")
        date_time = _read_date_time(cursor)
        length = cursor.length("other-information length")
        start = cursor.offset
        other = Cursor(cursor.take(length, "other-information"), start)
        message_code = other.uint(_MESSAGE_CODE_OCTETS, "MessageCode")
        supplementary = SupplementaryRemoteParty.read(other) if other.remaining else None
        return cls(cra, counter, originator, recipient, message_code, date_time, supplementary)


@dataclass(frozen=True, slots=True)
class GbcsMessage:
    header: GroupingHeader
    payload: bytes
    signature: bytes | None = None
    """r || s; empty where the field is there and says "unsigned"; None for a pre-command, which has no such field."""
    mac: bytes | None = None
    """12 octets where the message has a MAC header."""

    @property
    def signed_octets(self) -> bytes:
        """What a signature is made over: everything after DF, up to the end of the payload."""
        return self.header.to_bytes() + encode_length(len(self.payload)) + self.payload

    @property
    def authenticated_octets(self) -> bytes:
        """What a MAC is made over, ahead of its security control: DF to the end of the signature field."""
        if self.signature is None:
            return _GENERAL_SIGNING + self.signed_octets
        return _GENERAL_SIGNING + self.signed_octets + bytes([len(self.signature)]) + self.signature

    @property
    def payload_offset(self) -> int:
        """Where the payload starts in the whole message."""
        return len(self._mac_header()) + len(_GENERAL_SIGNING) + len(self.signed_octets) - len(self.payload)

    def to_bytes(self) -> bytes:
        return self._mac_header() + self.authenticated_octets + (self.mac or b"")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """Read one whole message.

        Raises MalformedMessageError, with the offset, for anything that is not exactly one message.
        """
        if len(octets) > LARGEST_MESSAGE_OCTETS:
            raise MalformedMessageError(f"{len(octets)} octets are more than any GBCS message has")
        cursor = Cursor(octets)
        has_mac = cursor.peek() == _MAC_START[0]
        if has_mac:
            _read_mac_header(cursor)
        cursor.expect(_GENERAL_SIGNING, "general-signing tag")
        header = GroupingHeader.read(cursor)
        payload = cursor.take(cursor.length("payload length"), "payload")
        # Only a command may be without the field: a pre-command, which its supplier is to sign.
        unsigned = cursor.remaining == 0 and not has_mac and header.cra is CraFlag.COMMAND
        signature = None if unsigned else _read_signature(cursor)
        mac = cursor.take(MAC_OCTETS, "MAC") if has_mac else None
        cursor.finish("end of the message")
        return cls(header, payload, signature, mac)

    def _mac_header(self) -> bytes:
        if self.mac is None:
            return b""
        length = len(_MAC_SECURITY) + len(self.authenticated_octets) + MAC_OCTETS
        return _MAC_START + encode_length(length) + _MAC_SECURITY


def _read_mac_header(cursor: Cursor) -> None:
    cursor.expect(_MAC_START, "MAC header")
    offset = cursor.offset
    length = cursor.length("MAC header length")
    if length != cursor.remaining:
        raise MalformedMessageError(
            f"{length} octets announced, {cursor.remaining} follow", offset=offset, field="MAC header length"
        )
    cursor.expect(_MAC_SECURITY, "MAC security control")


def _read_cra(cursor: Cursor) -> CraFlag:
    offset = cursor.offset
    value = cursor.u8("CRA flag")
    try:
        return CraFlag(value)
    except ValueError:
        raise MalformedMessageError(
            f"0x{value:02X} is none of command 1, response 2, alert 3", offset=offset, field="CRA flag"
        ) from None


def _read_date_time(cursor: Cursor) -> bytes:
    offset = cursor.offset
    length = cursor.u8("date-time length")
    if length not in (0, DATE_TIME_OCTETS):
        raise MalformedMessageError(f"0 or 12 octets wanted, not {length}", offset=offset, field="date-time length")
    return cursor.take(length, "date-time")


def _read_signature(cursor: Cursor) -> bytes:
    offset = cursor.offset
    length = cursor.u8("signature length")
    if length not in (0, SIGNATURE_OCTETS):
        raise MalformedMessageError(f"0 or 64 octets wanted, not {length}", offset=offset, field="signature length")
    return cursor.take(length, "signature")


def _read_certificate(cursor: Cursor) -> bytes:
    """The rest, which must be one DER SEQUENCE; the certificate itself is not read here."""
    start = cursor.offset
    octets = cursor.take(cursor.remaining, "key agreement certificate")
    inner = Cursor(octets, start)
    inner.expect(bytes([_DER_SEQUENCE]), "key agreement certificate")
    length = inner.length("key agreement certificate length")
    if length != inner.remaining or length == 0:
        raise MalformedMessageError(
            f"{length} octets announced, {inner.remaining} follow", offset=start, field="key agreement certificate"
        )
    return octets
