"""GBCS messages under hypothesis: what is made is read back; what is read is written back; junk is refused by name."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf import gbcs
from chf.errors import MalformedMessageError

PROFILE = settings(derandomize=True, deadline=None, max_examples=150)

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
u24 = st.integers(0, 2**24 - 1)
counters = st.integers(0, 2**63 - 1)
times = st.integers(-62135596800, 253402300799)  # year 1 to year 9999
hashes = st.binary(min_size=32, max_size=32)
failures = st.integers(1, 255)
outcomes = st.builds(gbcs.ExecutionOutcome, st.sampled_from(gbcs.ActivateImageResponseCode), u32)
receipts = st.sampled_from(
    [gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED]
)

USE_CASES = {
    (gbcs.MessageCode.ACTIVATE_FIRMWARE, gbcs.CraFlag.COMMAND): st.builds(
        gbcs.ActivateFirmwareCommand, hashes, counters, st.none() | times
    ),
    (gbcs.MessageCode.ACTIVATE_FIRMWARE, gbcs.CraFlag.RESPONSE): outcomes | st.just(gbcs.CommandAccepted()),
    (gbcs.MessageCode.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT, gbcs.CraFlag.ALERT): st.builds(
        gbcs.FutureDatedFirmwareActivationAlert, times, counters, outcomes
    ),
    (gbcs.MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION, gbcs.CraFlag.COMMAND): st.just(
        gbcs.ReadFirmwareVersionCommand()
    ),
    (gbcs.MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION, gbcs.CraFlag.RESPONSE): st.builds(
        gbcs.ReadFirmwareVersionResponse, u32, st.sampled_from(gbcs.ReadFirmwareVersionResponseCode)
    ),
    (gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, gbcs.CraFlag.COMMAND): st.builds(
        gbcs.DlmsReadFirmwareVersionCommand, u24
    ),
    (gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, gbcs.CraFlag.RESPONSE): st.builds(
        gbcs.DlmsReadFirmwareVersionResponse, u24, u32
    )
    | st.builds(gbcs.DlmsReadFirmwareVersionResponse, u24, st.none(), failures),
    (gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME, gbcs.CraFlag.COMMAND): st.just(gbcs.GbzReadFirmwareVersionCommand()),
    (gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME, gbcs.CraFlag.RESPONSE): st.builds(
        gbcs.GbzReadFirmwareVersionResponse, u32
    )
    | st.builds(gbcs.GbzReadFirmwareVersionResponse, st.none(), failures),
    (gbcs.MessageCode.FIRMWARE_TRANSFER_ALERT, gbcs.CraFlag.ALERT): st.builds(
        gbcs.FirmwareTransferAlert, times, u64, u32, st.sampled_from(gbcs.TransferResponseCode)
    ),
    (gbcs.MessageCode.PPMID_FIRMWARE_ACTIVATION_ALERT, gbcs.CraFlag.ALERT): st.builds(
        gbcs.PpmidFirmwareActivationAlert, times, u32, st.sampled_from(gbcs.ActivateImageResultCode)
    ),
    (gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME, gbcs.CraFlag.ALERT): st.builds(
        gbcs.GbzFirmwareDistributionReceiptAlert, receipts, u32, hashes
    ),
    (gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME, gbcs.CraFlag.ALERT): st.builds(
        gbcs.DlmsFirmwareDistributionReceiptAlert, u24, receipts, st.binary(min_size=12, max_size=12), hashes
    ),
}


def length(octets: int) -> bytes:
    """As DER has it."""
    content = octets.to_bytes(2, "big").lstrip(b"\0")
    return content if octets < 128 else bytes([0x80 + len(content)]) + content


certificates = st.binary(min_size=7, max_size=300).map(lambda body: b"\x30" + length(len(body)) + body)
parties = (
    st.builds(gbcs.SupplementaryRemoteParty, u64, st.none() | u64)
    | st.builds(gbcs.SupplementaryRemoteParty, u64, u64, u64)
    | st.builds(
        lambda eui64, counter, pem: gbcs.SupplementaryRemoteParty(eui64, counter, None, pem), u64, u64, certificates
    )
)
headers = st.builds(
    gbcs.GroupingHeader,
    st.sampled_from(gbcs.CraFlag),
    u64,
    u64,
    u64,
    st.integers(0, 0xFFFF),
    st.sampled_from([b"", bytes.fromhex("07DF0101FF000000008000FF")]),
    st.none() | parties,
)
payloads, signatures = st.binary(max_size=400), st.just(b"") | st.binary(min_size=64, max_size=64)
messages = st.one_of(
    st.builds(gbcs.GbcsMessage, headers.filter(lambda header: header.cra is gbcs.CraFlag.COMMAND), payloads),
    st.builds(gbcs.GbcsMessage, headers, payloads, signatures),
    st.builds(gbcs.GbcsMessage, headers, payloads, signatures, st.binary(min_size=12, max_size=12)),
)


@PROFILE
@given(messages)
def test_gbcs_any_message_round_trips(message):
    assert gbcs.GbcsMessage.from_bytes(message.to_bytes()) == message


@PROFILE
@given(st.sampled_from(sorted(USE_CASES)).flatmap(lambda kind: st.tuples(st.just(kind), USE_CASES[kind])))
def test_gbcs_any_payload_round_trips(kind_and_payload):
    (code, cra), payload = kind_and_payload
    message = gbcs.GbcsMessage(gbcs.GroupingHeader(cra, 1, 2, 3, code), payload.to_bytes(), b"")
    assert gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(message.to_bytes())) == payload


def read_or_refusal(octets):
    try:
        return gbcs.GbcsMessage.from_bytes(octets)
    except MalformedMessageError as error:
        return error


def payload_or_refusal(message):
    try:
        return gbcs.parse_payload(message)
    except MalformedMessageError as error:
        return error


def check(result, octets, first_offset, end_offset):
    """Either refused with an offset inside the input, or understood so well that it is written back unchanged."""
    if isinstance(result, MalformedMessageError):
        assert result.offset is not None
        assert first_offset <= result.offset <= end_offset
    else:
        assert result.to_bytes() == octets


@PROFILE
@given(messages, st.data())
def test_gbcs_a_changed_octet_is_refused_or_written_back(message, data):
    octets = bytearray(message.to_bytes())
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    check(read_or_refusal(bytes(octets)), octets, 0, len(octets))


@PROFILE
@given(st.binary(max_size=200))
def test_gbcs_junk_is_refused_by_name(junk):
    check(read_or_refusal(junk), junk, 0, len(junk))


@PROFILE
@given(st.sampled_from(sorted(USE_CASES)), st.binary(max_size=80))
def test_gbcs_junk_payload_is_refused_or_written_back(kind, junk):
    message = gbcs.GbcsMessage(gbcs.GroupingHeader(kind[1], 1, 2, 3, kind[0]), junk)
    check(payload_or_refusal(message), junk, message.payload_offset, len(message.to_bytes()))


@PROFILE
@given(st.sampled_from(sorted(USE_CASES)).flatmap(lambda kind: st.tuples(st.just(kind), USE_CASES[kind])), st.data())
def test_gbcs_a_changed_payload_octet_is_refused_or_written_back(kind_and_payload, data):
    (code, cra), payload = kind_and_payload
    octets = bytearray(payload.to_bytes())
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    message = gbcs.GbcsMessage(gbcs.GroupingHeader(cra, 1, 2, 3, code), bytes(octets))
    check(payload_or_refusal(message), octets, message.payload_offset, len(message.to_bytes()))
