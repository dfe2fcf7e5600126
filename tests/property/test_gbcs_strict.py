"""Every message of every use case, spoiled in every way that a lying encoder can: each is refused with offset and reason.

The messages are ours, and the public reference messages where they lie beside the checkout. Where a length or a tag
stands is found by a small walker of its own, not by what is tested.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf import gbcs
from chf.errors import MalformedMessageError
from chf.gbcs.codes import CraFlag

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "gbcs" / "vectors"
KEY = ec.derive_private_key(5, ec.SECP256R1())
DEVICE, HUB, ACB, SUPPLIER = 0x00DB1234567890A4, 0x00DB1234567890A2, 0x90B3D51F30000002, 0x90B3D51F30010000
UTC, BIG, HASH, NO_KEY = 1_800_000_000, 2**40 + 200, bytes(range(32)), bytes(16)
SUCCESS = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 0x8000_0001)


def receipt(code: gbcs.AlertCode, *, dlms: bool) -> bytes:
    how = {"alert_code": code, "utc": UTC, "manufacturer_image_hash": HASH, "dlms": dlms, "key": KEY}
    return gbcs.make_receipt_alert(DEVICE, SUPPLIER, BIG, **how)


def ours() -> dict[str, bytes]:
    now, later = (
        gbcs.make_cs06_precommand(SUPPLIER, DEVICE, BIG, HASH),
        gbcs.make_cs06_precommand(SUPPLIER, DEVICE, 1, HASH, UTC),
    )
    cancel = gbcs.make_cs06_precommand(SUPPLIER, DEVICE, 128, HASH, gbcs.CANCELLED_UTC_S)
    cs08 = gbcs.GbcsMessage.from_bytes(
        gbcs.make_cs08_command(ACB, DEVICE, BIG, gbcs.SupplementaryRemoteParty(SUPPLIER, 3), NO_KEY)
    )
    asked = {
        name: gbcs.GroupingHeader(CraFlag.COMMAND, BIG, SUPPLIER, DEVICE, code)
        for name, code in (
            ("ECS52", gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF),
            ("GCS38", gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME),
        )
    }
    version = gbcs.ReadFirmwareVersionResponse(7, gbcs.ReadFirmwareVersionResponseCode.READ_FAILURE)
    code = gbcs.TransferResponseCode.HARDWARE_VERSION_MISMATCH
    future = gbcs.FutureDatedFirmwareActivationAlert(UTC, BIG, SUCCESS)
    return {
        "CS06 pre-command": now.to_bytes(),
        "CS06": gbcs.add_mac(gbcs.sign(now, KEY), NO_KEY).to_bytes(),
        "CS06 future-dated": gbcs.add_mac(gbcs.sign(later, KEY), NO_KEY).to_bytes(),
        "CS06 cancelling": gbcs.add_mac(gbcs.sign(cancel, KEY), NO_KEY).to_bytes(),
        "CS06 accepted": gbcs.make_cs06_response(later.header, gbcs.CommandAccepted(), UTC, KEY),
        "CS06 success": gbcs.make_cs06_response(now.header, SUCCESS, UTC, KEY),
        "0x00CA": gbcs.make_future_dated_alert(DEVICE, SUPPLIER, BIG, future, KEY),
        "CCS08": gbcs.make_ccs08_alert(
            HUB, ACB, BIG, utc=UTC, device=DEVICE, firmware_version=2, response_code=code, key=KEY
        ),
        "CS09": gbcs.make_cs09_alert(DEVICE, ACB, BIG, utc=UTC, firmware_version=2, success=False, key=KEY),
        "CS08": cs08.to_bytes(),
        "CS08 answer": gbcs.make_cs08_response(cs08.header, version, NO_KEY),
        "CS14": gbcs.make_cs14_alert(
            HUB,
            ACB,
            BIG,
            utc=UTC,
            extended_pan_id=BIG,
            devices=(gbcs.LoggedDevice(DEVICE, bytes(range(16))), gbcs.LoggedDevice(DEVICE + 1)),
            mac_key=NO_KEY,
        ),
        "0x00CF": receipt(gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, dlms=False),
        "0x00CE": receipt(gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, dlms=True),
        **{name: gbcs.make_version_command(header, NO_KEY) for name, header in asked.items()},
        **{f"{name} answer": gbcs.make_meter_version_response(header, 2, NO_KEY) for name, header in asked.items()},
    }


def references() -> dict[str, bytes]:
    paths = sorted(REFERENCE.iterdir()) if REFERENCE.exists() else []
    return {path.stem: bytes.fromhex(path.read_text()) for path in paths}


MESSAGES = {**ours(), **references()}
everything = pytest.mark.parametrize("name", MESSAGES)


def refused(octets: bytes, what: str) -> None:
    try:
        payload = gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(octets))
    except MalformedMessageError as caught:
        error = caught
    else:
        pytest.fail(f"{what} is taken for {payload}")
    assert error.reason, what
    assert error.field, what
    assert error.offset is not None, what
    assert 0 <= error.offset <= len(octets), what


# Where things stand, by a walk that knows the layout of GBCS messages (7.2) and of DER and nothing else


class Layout:
    """Offsets in one message: of each length (and of how much it covers), and of the payload."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.lengths: list[int] = []
        at = 0
        self.has_mac = octets[0] == 0xDD
        if self.has_mac:
            at = self._length(7)[1] + 5
        at += 1
        for _ in range(5):  # transaction id, originator, recipient, date-time, other-information
            length, start = self._length(at)
            at = start + length
        length, self.payload_start = self._length(at)
        self.payload_end = self.payload_start + length
        if self.payload_end < len(octets):
            self._length(self.payload_end)

    @property
    def payload(self) -> bytes:
        return self.octets[self.payload_start : self.payload_end]

    @property
    def is_der(self) -> bool:
        return self.payload[0] in (0x30, 0x05)

    def with_payload(self, payload: bytes) -> bytes:
        """The message with another payload, and all lengths around it right."""
        message = gbcs.GbcsMessage.from_bytes(self.octets)
        return gbcs.GbcsMessage(message.header, payload, message.signature, message.mac).to_bytes()

    def _length(self, at: int) -> tuple[int, int]:
        self.lengths.append(at)
        first = self.octets[at]
        extra = first - 0x80 if first > 0x80 else 0
        length = int.from_bytes(self.octets[at + 1 : at + 1 + extra], "big") if extra else first
        return length, at + 1 + extra


Value = tuple[int, "bytes | list[Value]"]


def read_der(octets: bytes) -> list[Value]:
    values: list[Value] = []
    at = 0
    while at < len(octets):
        tag, length = octets[at], octets[at + 1]
        assert length < 0x80, "the payloads of these messages have short lengths alone"
        inside = octets[at + 2 : at + 2 + length]
        values.append((tag, read_der(inside) if tag == 0x30 else inside))
        at += 2 + length
    return values


def write_der(value: Value, change: Callable[[Value, bytes], bytes]) -> bytes:
    """`change` is given each value with its content, and returns its encoding."""
    tag, inside = value
    content = inside if isinstance(inside, bytes) else b"".join(write_der(item, change) for item in inside)
    return change((tag, inside), content)


def plain(value: Value, content: bytes) -> bytes:
    return bytes((value[0], len(content))) + content


def nodes(values: list[Value]) -> Iterator[Value]:
    for value in values:
        yield value
        if isinstance(value[1], list):
            yield from nodes(value[1])


in_der = pytest.mark.parametrize("name", [name for name, octets in MESSAGES.items() if Layout(octets).is_der])


def rewritten(values: list[Value], target: Value, how: Callable[[Value, bytes], bytes]) -> bytes:
    """The payload with one value written in another way."""

    def change(value: Value, content: bytes) -> bytes:
        return how(value, content) if value[1] is target[1] else plain(value, content)

    return b"".join(write_der(value, change) for value in values)


@everything
def test_gbcs_each_message_is_read_and_written_back(name):
    message = gbcs.GbcsMessage.from_bytes(MESSAGES[name])
    payload = gbcs.parse_payload(message)
    assert not isinstance(payload, gbcs.OpaquePayload)
    assert message.to_bytes() == MESSAGES[name]
    assert payload.to_bytes() == message.payload
    layout = Layout(MESSAGES[name])
    assert layout.payload == message.payload
    assert layout.payload_start == message.payload_offset
    if layout.is_der:
        assert b"".join(write_der(value, plain) for value in read_der(layout.payload)) == layout.payload


@everything
def test_gbcs_each_truncation_is_refused(name):
    octets, layout = MESSAGES[name], Layout(MESSAGES[name])
    for cut in range(len(octets)):
        if cut == layout.payload_end and not layout.has_mac:
            continue  # the pre-command of this message, which is one
        if cut == layout.payload_end + 1 and not octets[layout.payload_end]:
            continue
        refused(octets[:cut], f"cut at {cut}")


@everything
def test_gbcs_each_trailing_octet_is_refused(name):
    octets = MESSAGES[name]
    whole = len(octets) if "pre" not in name.lower() else None
    for extra in (b"\0", b"\xff", b"\x40", octets):
        if whole is None and extra == b"\0":
            continue  # the empty signature field of a pre-command
        refused(octets + extra, f"with {extra[:1].hex()} behind it")


@everything
def test_gbcs_each_lie_of_a_length_is_refused(name):
    octets, layout = MESSAGES[name], Layout(MESSAGES[name])
    for at in layout.lengths:
        for value in range(256):
            if value == octets[at]:
                continue
            changed = octets[:at] + bytes((value,)) + octets[at + 1 :]
            refused(changed, f"0x{value:02X} for the length at {at}")


@everything
def test_gbcs_each_length_in_a_longer_form_is_refused(name):
    octets, layout = MESSAGES[name], Layout(MESSAGES[name])
    for at in layout.lengths:
        if octets[at] >= 0x80:
            continue
        for longer in (b"\x81" + octets[at : at + 1], b"\x82\0" + octets[at : at + 1]):
            refused(octets[:at] + longer + octets[at + 1 :], f"the length at {at} as {longer.hex()}")


@in_der
def test_gbcs_each_wrong_tag_of_a_payload_is_refused(name):
    layout = Layout(MESSAGES[name])
    values = read_der(layout.payload)
    for node in nodes(values):
        for tag in range(256):
            if tag != node[0]:
                changed = rewritten(values, node, lambda _value, content, tag=tag: bytes((tag, len(content))) + content)
                refused(layout.with_payload(changed), f"tag 0x{tag:02X} for 0x{node[0]:02X}")


@in_der
def test_gbcs_each_lie_of_a_length_in_a_payload_is_refused(name):
    layout = Layout(MESSAGES[name])
    values = read_der(layout.payload)
    for node in nodes(values):
        for value in range(256):

            def lie(found: Value, content: bytes, value: int = value) -> bytes:
                return bytes((found[0], value)) + content

            changed = rewritten(values, node, lie)
            if changed != layout.payload:
                refused(layout.with_payload(changed), f"length {value} of tag 0x{node[0]:02X}")


@in_der
def test_gbcs_each_value_of_a_payload_that_is_not_minimal_der_is_refused(name):
    layout = Layout(MESSAGES[name])
    values = read_der(layout.payload)
    forms: list[Callable[[Value, bytes], bytes]] = [
        lambda value, content: bytes((value[0], 0x81, len(content))) + content,
        lambda value, content: bytes((value[0], 0x82, 0, len(content))) + content,
        lambda value, content: bytes((value[0], 0x80)) + content + b"\0\0",
        lambda value, content: bytes((value[0], len(content) + 1)) + b"\0" + content,
    ]
    for node in nodes(values):
        for number, form in enumerate(forms):
            changed = rewritten(values, node, form)
            refused(layout.with_payload(changed), f"form {number} of tag 0x{node[0]:02X}")
        if node[0] == 0x02:
            negative = rewritten(values, node, lambda value, content: bytes((2, len(content))) + b"\xff" + content[1:])
            refused(layout.with_payload(negative), "a negative INTEGER")


@in_der
def test_gbcs_each_wrong_order_in_a_payload_is_refused(name):
    layout = Layout(MESSAGES[name])

    def orders(values: list[Value]) -> Iterator[list[Value]]:
        for at in range(len(values) - 1):
            if values[at] != values[at + 1]:
                yield [*values[:at], values[at + 1], values[at], *values[at + 2 :]]
        for at, (tag, inside) in enumerate(values):
            yield [*values[:at], *values[at + 1 :]]  # without one
            yield [*values[: at + 1], *values[at:]]  # with one twice
            if isinstance(inside, list):
                for other in orders(inside):
                    yield [*values[:at], (tag, other), *values[at + 1 :]]

    for values in orders(read_der(layout.payload)):
        changed = b"".join(write_der(value, plain) for value in values)
        if changed != layout.payload and not without_a_time(layout.payload, changed):
            refused(layout.with_payload(changed), changed.hex())


def without_a_time(payload: bytes, changed: bytes) -> bool:
    """The one OPTIONAL: a CS06 without its executionDateTime is another good CS06."""
    (before,), after = read_der(payload), read_der(changed)
    return len(after) == 1 and isinstance(before[1], list) and after[0][1] == before[1][:-1] and len(before[1]) == 3
