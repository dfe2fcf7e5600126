"""Messages for devices: rows wait, are carried octet for octet, and their fate is written once."""

import pytest

from chf import gbcs
from chf.clock import SystemClock, UtcSeconds
from chf.errors import StoreError
from chf.eui64 import parse_eui64
from chf.hub import HubSettings
from chf.pki.certificates import Usage
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceLogWriter, DeviceStatus, DeviceType
from chf.store.device_messages import MessageState, NewDeviceMessage
from chf.trace import Kind
from chf.tunnel import TunnelSettings
from chf.zcl import metering, tunneling
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from tests.support.damaged_store import connection_of
from tests.support.memory_radio import HubOnDesk, MemoryRadio, desk_pki, hub_on_desk

HCALCS, GSME, ABSENT = (parse_eui64(f"00-DB-12-34-56-78-90-A{digit}") for digit in "513")
SUPPLIER = 0x90B3D51F30010000
RECEIPT_OVERDUE_S = 0.05
IMPATIENT = HubSettings(tunnel=TunnelSettings(response_timeout_s=RECEIPT_OVERDUE_S, first_retry_s=0.01))
TUNNEL = 7


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        with opened.transaction() as tx:
            for device, kind in ((HCALCS, DeviceType.HCALCS), (GSME, DeviceType.GSME)):
                tx.devices.add(DeviceEntry(device, kind, 0.0, bytes(16), status=DeviceStatus.JOINED))
            tx.devices.add(DeviceEntry(ABSENT, DeviceType.HCALCS, 0.0, bytes(16)))
        yield opened


def add(store: Store, device=HCALCS, message: bytes = b"message", *, lifetime_s: float = 60.0, counter: int = 1) -> int:
    now = SystemClock().now().utc
    row = NewDeviceMessage(
        device, "test", gbcs.MessageCode.ACTIVATE_FIRMWARE, counter, message, now, UtcSeconds(now + lifetime_s)
    )
    with store.transaction() as tx:
        return tx.device_messages.add(row)


def state(desk: HubOnDesk, number: int) -> MessageState:
    return desk.store.device_messages.get(number).state


def transfers(desk: HubOnDesk) -> list[tuple[int, bytes]]:
    """Sequence and data of each TransferData to the HCALCS."""
    frames = [Frame.from_bytes(sent.payload) for sent in desk.radio.to_cluster(tunneling.CLUSTER)]
    return [
        (frame.sequence, frame.payload[2:])
        for frame in frames
        if frame.frame_type is FrameType.CLUSTER and frame.command == 0x02 and not frame.to_client
    ]


async def open_tunnel(desk: HubOnDesk) -> None:
    def asked() -> list[Frame]:
        frames = [Frame.from_bytes(sent.payload) for sent in desk.radio.to_cluster(tunneling.CLUSTER)]
        return [frame for frame in frames if frame.command == 0x00]

    await desk.until(asked)
    response = tunneling.RequestTunnelResponse(TUNNEL, 0)
    desk.radio.says(HCALCS, tunneling.CLUSTER, tunneling.command(response, asked()[-1].sequence, to_client=True))
    await desk.until(lambda: Kind.TUNNEL_OPENED in desk.kinds())


def takes(desk: HubOnDesk, sequence: int, status: Status = Status.SUCCESS) -> None:
    payload = DefaultResponse(0x02, status).to_bytes()
    frame = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, sequence, payload, to_client=True)
    desk.radio.says(HCALCS, tunneling.CLUSTER, frame.to_bytes())


def says(desk: HubOnDesk, message: bytes, sequence: int = 0x55) -> None:
    body = tunneling.TransferData(TUNNEL, message)
    desk.radio.says(HCALCS, tunneling.CLUSTER, tunneling.command(body, sequence, to_client=True, answered=True))


def cs06_response(store: Store, outcome, counter: int = 1) -> bytes:
    pki = desk_pki(store.home)
    pki.issue(HCALCS)
    header = gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, counter, SUPPLIER, HCALCS, gbcs.MessageCode.ACTIVATE_FIRMWARE)
    return gbcs.make_cs06_response(header, outcome, 0, pki.private_key(HCALCS, Usage.DIGITAL_SIGNATURE))


async def test_a_message_is_carried_untouched_and_its_delivery_told(store):
    octets = bytes(range(200))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        number = add(store, message=octets)
        await desk.until(lambda: transfers(desk))
        ((sequence, data),) = transfers(desk)
        assert data == octets
        assert state(desk, number) is MessageState.WAITING
        takes(desk, sequence)
        await desk.until(lambda: state(desk, number) is MessageState.DELIVERED)
        assert desk.kinds().count(Kind.MESSAGE_DELIVERED) == 1


async def test_a_message_waits_for_a_device_that_was_never_there_and_expires(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = add(store, ABSENT, lifetime_s=0.6)
        await desk.until(lambda: state(desk, number) is MessageState.EXPIRED)
        (event,) = [event for event in desk.told if event.kind is Kind.MESSAGE_FAILED]
        assert (event.fields["state"], event.device) == ("expired", ABSENT)


async def test_a_message_that_the_device_never_takes_expires(store):
    async with hub_on_desk(store, MemoryRadio(), IMPATIENT) as desk:
        await open_tunnel(desk)
        number = add(store, lifetime_s=0.5)
        await desk.until(lambda: state(desk, number) is MessageState.EXPIRED)
        assert desk.store.device_messages.get(number).reason == "never taken by the device"
        assert len(transfers(desk)) > 1


async def test_a_message_for_an_unknown_device_fails(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = add(store, parse_eui64("00-DB-12-34-56-78-90-FF"))
        await desk.until(lambda: state(desk, number) is MessageState.FAILED)
        assert "no access" in desk.store.device_messages.get(number).reason


async def test_a_message_that_is_too_long_fails(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        fits, too_long = add(store, message=bytes(1500)), add(store, message=bytes(1501))
        await desk.until(lambda: state(desk, too_long) is MessageState.FAILED)
        assert state(desk, fits) is MessageState.WAITING


async def test_a_message_outlives_the_hub(store):
    number = add(store)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        await desk.until(lambda: transfers(desk))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        await desk.until(lambda: transfers(desk))
        takes(desk, transfers(desk)[0][0])
        await desk.until(lambda: state(desk, number) is MessageState.DELIVERED)


async def test_messages_keep_their_order(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        for number in range(3):
            add(store, message=bytes((number,)))
        await open_tunnel(desk)
        for number in range(3):
            await desk.until(lambda number=number: len(transfers(desk)) == number + 1)
            takes(desk, transfers(desk)[-1][0])
        assert [data for _, data in transfers(desk)] == [b"\0", b"\1", b"\2"]


async def test_a_response_goes_up_as_it_came_and_answers_its_command(store):
    response = cs06_response(store, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.NO_IMAGE_HELD, 1))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        number = add(store, counter=1)
        await desk.until(lambda: transfers(desk))
        says(desk, response)  # before the receipt of the command
        await desk.until(lambda: state(desk, number) is MessageState.ANSWERED)
        takes(desk, transfers(desk)[0][0])
        await desk.until(lambda: Kind.MESSAGE_DELIVERED in desk.kinds())
        assert state(desk, number) is MessageState.ANSWERED
        (alert,) = store.alerts.list(device=HCALCS)
        assert (alert.use_case, alert.outcome, alert.verified) == ("CS06", "no image held", True)
        assert alert.message == response
        assert Kind.RESPONSE_RECEIVED in desk.kinds()


async def test_a_response_whose_signature_is_not_the_devices_is_relayed_and_told(store):
    response = cs06_response(store, gbcs.CommandAccepted())
    broken = response[:-1] + bytes((response[-1] ^ 1,))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        number = add(store, counter=1)
        await desk.until(lambda: transfers(desk))
        says(desk, broken)
        await desk.until(lambda: Kind.ALARM in desk.kinds())
        (alert,) = store.alerts.list(device=HCALCS)
        assert (alert.message, alert.verified) == (broken, False)
        assert state(desk, number) is MessageState.WAITING  # a hub that restarts now sends it again


async def test_a_response_with_a_bad_signature_answers_nothing(store):
    """Whoever asked would otherwise never be told that no answer came."""
    response = cs06_response(store, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        number = add(store, counter=1)
        await desk.until(lambda: transfers(desk))
        takes(desk, transfers(desk)[0][0])
        await desk.until(lambda: state(desk, number) is MessageState.DELIVERED)
        says(desk, response[:-1] + bytes((response[-1] ^ 1,)))
        await desk.until(lambda: Kind.ALARM in desk.kinds())
        assert state(desk, number) is MessageState.DELIVERED
        says(desk, response, 0x56)
        await desk.until(lambda: state(desk, number) is MessageState.ANSWERED)
        assert [alert.verified for alert in store.alerts.list(device=HCALCS)] == [False, True]


async def test_a_response_that_nobody_can_check_answers_nothing(store):
    """No certificate of the device is here: the DCC side will not pass the response on, and has to say so in time."""
    response = cs06_response(store, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2))
    (store.home / "pki" / f"{HCALCS:016x}-ds.pem").unlink()
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        number = add(store, counter=1)
        await desk.until(lambda: transfers(desk))
        takes(desk, transfers(desk)[0][0])
        says(desk, response)
        await desk.until(lambda: Kind.RESPONSE_RECEIVED in desk.kinds())
        (alert,) = store.alerts.list(device=HCALCS)
        assert (alert.message, alert.verified) == (response, False)
        assert state(desk, number) is MessageState.DELIVERED


async def test_a_forged_message_does_not_keep_the_true_one_out(store):
    """A device speaks in the name of another, under the counter that the other will use next; and repeats it as well."""
    true = cs06_response(store, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2))
    forged = true[:-1] + bytes((true[-1] ^ 1,))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        gsme(desk, tunneling.RequestTunnel())
        _, opened = answers(desk)[-1]
        for octets in (forged, true):
            gsme(desk, tunneling.TransferData(opened.tunnel_id, b"\x03" + octets))
        await desk.until(lambda: len(store.alerts.list(device=GSME)) == 2)
        says(desk, true)
        await desk.until(lambda: store.alerts.list(device=HCALCS))
        (alert,) = store.alerts.list(device=HCALCS)
        assert (alert.message, alert.verified) == (true, True)


async def test_another_message_under_a_used_counter_is_told_and_not_passed_on(store):
    """Both signed by the device, which may use a counter once."""
    first, second = (
        cs06_response(store, gbcs.ExecutionOutcome(code, 1))
        for code in (gbcs.ActivateImageResponseCode.SUCCESS, gbcs.ActivateImageResponseCode.NO_IMAGE_HELD)
    )
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await open_tunnel(desk)
        says(desk, first)
        says(desk, second, 0x56)
        await desk.until(lambda: Kind.ALARM in desk.kinds())
        assert [alert.message for alert in store.alerts.list(device=HCALCS)] == [first]


# The GSME fetches


def gsme(desk: HubOnDesk, body, sequence: int = 9) -> None:
    desk.radio.says(GSME, tunneling.CLUSTER, tunneling.command(body, sequence, to_client=False, answered=True))


def flags(desk: HubOnDesk) -> int:
    desk.radio.says(GSME, metering.CLUSTER, bytes((0x08, 0x31, 0x00, 0x00, 0x00)))
    frame = Frame.from_bytes(desk.radio.to_cluster(metering.CLUSTER)[-1].payload)
    assert (frame.command, frame.to_client, frame.payload[:4]) == (0x01, False, b"\x00\x00\x00\x1b")
    return int.from_bytes(frame.payload[4:], "little")


def answers(desk: HubOnDesk) -> list:
    sent = [message for message in desk.radio.to_cluster(tunneling.CLUSTER) if message.destination == GSME]
    frames = [Frame.from_bytes(message.payload) for message in sent]
    return [(frame.sequence, tunneling.parse(frame)) for frame in frames if frame.frame_type is FrameType.CLUSTER]


async def test_a_gsme_sees_in_its_mirror_that_a_message_waits_and_fetches_it(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        assert flags(desk) == 0
        number = add(store, GSME)
        await desk.until(lambda: Kind.MESSAGE_QUEUED in desk.kinds())
        assert flags(desk) == 1 << 21
        gsme(desk, tunneling.RequestTunnel())
        _, opened = answers(desk)[-1]
        gsme(desk, tunneling.TransferData(opened.tunnel_id, b"\x01"))
        sequence, fetched = answers(desk)[-1]
        assert fetched.data == b"\x02\x00message"
        payload = DefaultResponse(0x01, Status.SUCCESS).to_bytes()
        frame = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, sequence, payload)
        desk.radio.says(GSME, tunneling.CLUSTER, frame.to_bytes())
        await desk.until(lambda: state(desk, number) is MessageState.DELIVERED)
        assert flags(desk) == 0


async def test_a_message_for_a_gsme_that_never_wakes_expires(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = add(store, GSME, lifetime_s=0.6)
        await desk.until(lambda: state(desk, number) is MessageState.EXPIRED)
        assert flags(desk) == 0


async def test_only_the_flags_are_mirrored(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        desk.radio.says(GSME, metering.CLUSTER, bytes((0x00, 0x31, 0x00, 0x00, 0x00)))
        frame = Frame.from_bytes(desk.radio.to_cluster(metering.CLUSTER)[-1].payload)
        assert frame.payload == b"\x00\x00\x86"  # UNSUPPORTED_ATTRIBUTE of the server's side


def test_an_appointment_is_what_the_command_says():
    from chf.hub.messages_from_devices import appointment
    from chf.update.model import WaitingFor, WaitReason

    def command(when):
        return gbcs.make_cs06_precommand(SUPPLIER, HCALCS, 1, bytes(32), when).to_bytes()

    assert appointment(command(2_000_000_000)) == WaitingFor(WaitReason.TIME, 2_000_000_000)
    assert appointment(command(gbcs.CANCELLED_UTC_S)) == WaitingFor(WaitReason.COMMAND)


async def test_what_a_tunnel_had_is_handed_over_again_where_the_hub_begins_again_from_the_store(store, monkeypatch):
    """The state of this device was refused for good: what became of its message meanwhile is not written."""
    write, refused = DeviceLogWriter.update, [StoreError("no such row")]

    def sometimes(log, entry):
        if refused:
            raise refused.pop()
        write(log, entry)

    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = add(store)
        await open_tunnel(desk)
        await desk.until(lambda: transfers(desk))
        monkeypatch.setattr(DeviceLogWriter, "update", sometimes)
        desk.radio.says(HCALCS, metering.CLUSTER, bytes.fromhex("00 07 00 0000"))  # heard, and so to be written
        await desk.until(lambda: desk.kinds().count(Kind.MESSAGE_QUEUED) == 2)
        assert state(desk, number) is MessageState.WAITING


async def test_a_message_whose_row_is_damaged_while_a_tunnel_has_it_ends_as_failed_and_is_named(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        first, second = add(store, message=b"1"), add(store, message=b"2", counter=2)
        await open_tunnel(desk)
        await desk.until(lambda: desk.kinds().count(Kind.MESSAGE_QUEUED) == 2)
        connection_of(store).execute("update device_messages set message = 7 where id = ?", (first,))
        takes(desk, transfers(desk)[-1][0])
        await desk.until(lambda: transfers(desk)[-1][1] == b"2")
        takes(desk, transfers(desk)[-1][0])
        await desk.until(lambda: state(desk, second) is MessageState.DELIVERED)
        named = [event for event in desk.told if event.kind is Kind.ALARM]
        assert all(f"row {first} of device_messages" in str(event.fields["reason"]) for event in named)
        assert named
