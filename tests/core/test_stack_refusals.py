"""What a stack refuses, drops or answers with a status: one named case for each."""

from itertools import pairwise

import pytest

from chf.crypto.mmo import key_transport_key
from devices.medium.medium import MediumSettings
from devices.stack.interface import ApsStatus, Eui64, Fragment, JoinKind, NwkAddress
from devices.stack.nwk_layer import NwkLayer
from devices.wire import aps, mac, nwk, zdp
from devices.wire.aps import ApsFrame, ApsType, ExtendedHeader, Fragmentation
from devices.wire.aps_commands import TransportNetworkKey
from devices.wire.mac import AddressMode, MacCommand, MacFrame, MacType
from devices.wire.security import KeyIdentifier, cipher_for
from tests.support.air import (
    CHANNEL,
    COORDINATOR_IEEE,
    DEVICE_IEEE,
    LINK_KEY,
    NETWORK_KEY,
    Air,
    Confirms,
    Deaf,
    on_air,
    to_device,
    to_hub,
)

PAN = 0x1A62
STRANGER = Eui64(0xBAD0000000000001)


def stranger(air: Air, short: int = 0xBAD):
    """A radio that speaks for itself; what it hears is in the list."""
    heard: list[bytes] = []
    radio = air.medium.attach(STRANGER, lambda octets, *_: heard.append(octets))
    radio.tune(CHANNEL, PAN, short)
    radio.listening = True
    return radio, heard


def association_request(payload: bytes = b"\x01\x8c") -> bytes:
    return MacFrame(
        MacType.COMMAND, 1, AddressMode.SHORT, PAN, 0, AddressMode.EXTENDED, 0xFFFF, STRANGER, payload, ack_request=True
    ).to_bytes()


def poll_by_extended() -> bytes:
    payload = bytes((MacCommand.DATA_REQUEST,))
    return MacFrame(
        MacType.COMMAND, 2, AddressMode.SHORT, PAN, 0, AddressMode.EXTENDED, PAN, STRANGER, payload, ack_request=True
    ).to_bytes()


@pytest.mark.parametrize(
    ("permit_s", "children", "status"),
    [(0, 64, mac.AssociationStatus.PAN_ACCESS_DENIED), (60, 0, mac.AssociationStatus.PAN_AT_CAPACITY)],
    ids=["the beacon said closed", "the network is full"],
)
def test_an_association_is_denied_and_told_why(permit_s, children, status):
    air = Air()
    air.coordinator.parent.maximum_children = children
    air.coordinator.permit(permit_s)
    radio, heard = stranger(air)
    radio.transmit(association_request())
    radio.transmit(poll_by_extended())
    air.run(0.1)
    assert mac.AssociationResponse.from_bytes(MacFrame.from_bytes(heard[-1]).payload).status == status
    assert air.log.joins == []


def test_a_device_takes_a_denied_association_for_a_failed_attempt():
    air = Air()
    device, log = air.add_device()
    air.coordinator.permit(0.4)  # open while it scans, closed when it asks
    device.join()
    air.run(0.35)
    air.coordinator.permit(0)
    air.run(0.0)
    device._joining._request_association()
    air.run(0.8)
    assert "the association was refused with status 2" in log.failures


def test_an_association_request_nobody_hears_fails_the_attempt():
    air = Air()
    device, log = air.add_device()
    air.coordinator.permit(60)
    device.join()
    air.run(0.2)
    air.coordinator.stop()
    air.run(0.5)
    assert log.failures == ["the association request was not acknowledged"]


def test_malformed_mac_commands_are_counted():
    air = Air()
    radio, _ = stranger(air)
    radio.transmit(association_request(b"\x01"))
    radio.transmit(association_request(b"\x55"))
    air.run(0.1)
    assert (air.coordinator.counters.malformed, air.coordinator.counters.unexpected) == (1, 1)


def test_a_poll_from_an_address_that_nobody_has_is_sent_away_to_rejoin():
    air = Air()
    radio, heard = stranger(air)
    poll = MacFrame(
        MacType.COMMAND, 3, AddressMode.SHORT, PAN, 0, AddressMode.SHORT, PAN, 0xBAD, b"\x04", ack_request=True
    )
    radio.transmit(poll.to_bytes())
    air.run(0.1)
    layer = NwkLayer(None, STRANGER, air.medium, air.coordinator.counters)
    layer.install_key(air.coordinator.network.network_key, 0, None)
    (frame,) = [MacFrame.from_bytes(octets) for octets in heard]
    arrival = layer.open(frame, 255, -40)
    assert nwk.Leave.from_bytes(arrival.frame.payload) == nwk.Leave(request=True, rejoin=True)


def test_a_message_in_anothers_address_is_dropped_and_its_holder_is_not_sent_away():
    air = Air()
    victim, log = air.join()
    liar, _ = air.join(Eui64(DEVICE_IEEE + 1))
    heard = len(air.log.data())
    liar.address = victim.address
    air.send(to_hub(b"in the victim's name"), liar, seconds=1.0)
    assert air.coordinator.counters.unexpected >= 1
    assert len(air.log.data()) == heard
    assert (victim.joined, log.joins) == (True, [False])  # without a rejoin


def test_a_secured_rejoin_of_a_device_that_was_forgotten_is_welcome():
    air, device, _ = on_air()
    air.coordinator.parent.drop(air.coordinator.network.children[DEVICE_IEEE])
    device.rejoin()
    air.run(1.0)
    assert device.joined
    assert air.log.joins[-1][2] is JoinKind.REJOINED_SECURED


def test_a_rejoin_under_an_address_that_another_device_has_gets_a_new_one():
    air = Air()
    first, _ = air.join()
    second, _ = air.join(Eui64(DEVICE_IEEE + 1))
    second.power_off()
    second.persistent_state.address = first.address
    second.power_on()
    air.run_until(lambda: second.joined)
    assert second.address != first.address
    confirms = Confirms()
    for device in (first, second):
        device.send(to_hub(b"x"), confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS] * 2


def test_an_unsecured_rejoin_without_a_key_in_the_table_is_refused():
    air, device, _ = on_air()
    device.power_off()
    device.persistent_state.network_key = bytes(16)
    del air.keys.keys[DEVICE_IEEE]
    device.power_on()
    air.run(5.0)
    assert not device.joined
    assert (DEVICE_IEEE, "no link key for this device") in air.log.refusals


def test_a_rejoin_in_the_clear_under_anothers_name_does_not_cost_it_its_place():
    air, device, log = on_air()
    radio, _ = stranger(air)
    request = nwk.NwkFrame(
        0, device.address, 1, 1, nwk.RejoinRequest(0x8C).to_bytes(), nwk.NwkType.COMMAND, source_ieee=DEVICE_IEEE
    )
    radio.transmit(mac.data_frame(1, PAN, 0, device.address, request.to_bytes()))
    air.run(20.0)
    assert air.coordinator.address_of(DEVICE_IEEE) == device.address
    assert any(ieee == DEVICE_IEEE for ieee, _ in air.log.refusals)
    assert air.send(to_device(device, b"x")) == [ApsStatus.SUCCESS]
    assert log.joins == [False]


def test_a_rejoin_request_in_the_clear_must_name_the_device():
    air, device, _ = on_air()
    Air.inject(device, 0, nwk.RejoinRequest(0x8C).to_bytes(), command=True, secured=False)
    air.run(0.1)
    assert air.coordinator.counters.malformed == 1


def test_a_leave_on_behalf_of_another_device_is_not_believed():
    air = Air()
    first, _ = air.join()
    second, _ = air.join(Eui64(DEVICE_IEEE + 1))
    Air.nwk(first).address = second.address  # its own security, the other's address
    Air.inject(first, 0, nwk.Leave(request=False).to_bytes(), command=True)
    air.run(0.1)
    assert air.log.leaves == []
    assert air.coordinator.counters.unexpected == 1
    assert second.joined


def test_a_command_in_the_clear_other_than_rejoin_answers_is_not_obeyed_while_rejoining():
    air, device, log = on_air()
    air.coordinator.stop()
    device.power_off()
    device.persistent_state.network_key = bytes(16)
    device.power_on()
    device._joining._phase = type(device._joining._phase).REJOINING_UNSECURED
    leave = nwk.NwkFrame(0xFFFF, 0, 1, 1, nwk.Leave(request=True).to_bytes(), nwk.NwkType.COMMAND)
    Air.nwk(device).heard(mac.data_frame(1, PAN, device.address, 0, leave.to_bytes()), 255, -40)
    assert device.counters.nwk_unsecured == 1
    assert log.lefts == 0


def test_frames_that_do_not_come_from_the_parent_are_not_looked_at():
    _, device, _ = on_air()
    Air.nwk(device).heard(mac.data_frame(1, PAN, device.address, 0x7777, bytes(20) + b"\x08"), 255, -40)
    frame = nwk.NwkFrame(device.address, 0x7777, 1, 1, b"", nwk.NwkType.DATA)
    Air.nwk(device).heard(mac.data_frame(1, PAN, device.address, 0x7777, frame.to_bytes()), 255, -40)
    assert device.counters.unexpected + device.counters.malformed == 2


def transport_key(
    *, link_key: bytes = LINK_KEY, destination: int = DEVICE_IEEE, source: int = COORDINATOR_IEEE, counter: int = 5
) -> bytes:
    command = TransportNetworkKey(bytes(range(16)), 0, destination, source)
    security = aps.ApsSecurity(counter, COORDINATOR_IEEE, KeyIdentifier.KEY_TRANSPORT)
    frame = aps.ApsCommandFrame(1, command.to_bytes(), security)
    octets = aps.seal(frame, cipher_for(key_transport_key(link_key)), COORDINATOR_IEEE)
    return nwk.NwkFrame(0xFFFF, 0, 1, 1, octets).to_bytes()


def waiting_device(air: Air):
    """A device that has an address and waits for its key, with a coordinator that has fallen silent."""
    device, log = air.add_device()
    air.coordinator.permit(60)
    device.join()
    air.run_until(lambda: device._joining._phase.name == "ASSOCIATING")
    air.coordinator.stop()
    device.address = NwkAddress(0x1111)
    Air.nwk(device).radio.tune(CHANNEL, PAN, 0x1111)
    device._joining._wait_for_key()
    return device, log


def give(device, octets: bytes) -> None:
    frame = nwk.NwkFrame.from_bytes(octets)
    addressed = nwk.NwkFrame(device.address, 0, 1, 1, frame.payload)
    Air.nwk(device).heard(mac.data_frame(1, PAN, device.address, 0, addressed.to_bytes()), 255, -40)


def test_transport_key_must_be_for_this_device_under_its_key_and_not_asked_for_twice():
    air = Air()
    device, _ = waiting_device(air)
    counters = device.counters
    give(device, transport_key(destination=DEVICE_IEEE + 1))
    give(device, transport_key(source=STRANGER))  # in the name of another than who sealed it
    assert (counters.unexpected, device.joined) == (2, False)
    plain = aps.ApsCommandFrame(1, bytes(35)).to_bytes()
    give(device, nwk.NwkFrame(0, 0, 1, 1, plain).to_bytes())
    assert counters.unexpected == 3
    frame = aps.ApsCommandFrame(1, bytes(35), aps.ApsSecurity(1))
    data_key = aps.seal(frame, cipher_for(LINK_KEY), COORDINATOR_IEEE)
    give(device, nwk.NwkFrame(0, 0, 1, 1, data_key).to_bytes())
    assert counters.aps_no_link_key == 1
    good = transport_key()
    give(device, good)
    assert device.joined
    give(device, good)
    assert counters.nwk_unsecured == 1  # no key is awaited any more
    device._joining._wait_for_key()
    give(device, good)
    assert counters.aps_replays == 1


def test_the_wrong_link_key_ends_the_attempt():
    air = Air()
    device, log = waiting_device(air)
    give(device, transport_key(link_key=bytes(16)))
    assert not device.joined
    assert log.failures == ["the network key does not open with this device's install code"]


def test_a_secured_message_of_a_stranger_has_no_link_key():
    air, device, _ = on_air()
    del air.keys.keys[DEVICE_IEEE]
    air.send(to_hub(b"x", acknowledged=False), device)
    assert air.coordinator.counters.aps_no_link_key == 1
    assert air.log.data() == []


def fragment_from_hub(air: Air, device, header: ExtendedHeader, payload: bytes, counter: int = 77) -> None:
    frame = ApsFrame(7, 0x0704, 0x0109, 3, counter, payload, ack_request=True, extended=header)
    Air.nwk(air.coordinator).send(device.address, frame.to_bytes(), 30, None)
    air.run(0.01)


@pytest.mark.parametrize(
    "blocks",
    [
        [(Fragmentation.FIRST, 2), (Fragmentation.PART, 2)],  # beyond the count
        [(Fragmentation.FIRST, 3), (Fragmentation.FIRST, 2)],  # another count
        [(Fragmentation.PART, 4), (Fragmentation.FIRST, 3)],  # a block that the count does not have
    ],
)
def test_blocks_that_contradict_each_other_void_the_message(blocks):
    air, device, log = on_air()
    for kind, number in blocks:
        fragment_from_hub(air, device, ExtendedHeader(kind, number), b"data")
    assert device.counters.malformed == 1
    assert log.messages == []
    assert not Air.aps(device).awaiting


def test_blocks_may_come_in_any_order_and_late_copies_are_acknowledged_again():
    air, device, log = on_air()
    fragment_from_hub(air, device, ExtendedHeader(Fragmentation.PART, 1), b"second")
    fragment_from_hub(air, device, ExtendedHeader(Fragmentation.FIRST, 2), b"first ")
    assert [message.payload for message in log.messages] == [b"first second"]
    before = air.coordinator.counters.unexpected
    fragment_from_hub(air, device, ExtendedHeader(Fragmentation.PART, 1), b"second")
    assert len(log.messages) == 1
    assert device.counters.aps_duplicates == 1
    assert air.coordinator.counters.unexpected == before + 1  # the acknowledgement, which nobody awaits here


def test_an_acknowledgement_that_lacks_the_block_does_not_confirm_it():
    air, device, _ = on_air()
    device.power_off()
    confirms = Confirms()
    address = air.coordinator.address_of(DEVICE_IEEE)
    request = to_device(device, b"x", destination=address, secured=False, fragment=Fragment(0, 2))
    counter = air.coordinator.send(request, confirms.append)
    air.run(0.1)
    for received, confirmed in ((0xFE, 0), (0xFF, 1)):
        ack = ApsFrame(
            3, 0x0019, 0x0109, 7, counter, type=ApsType.ACK, extended=ExtendedHeader(Fragmentation.FIRST, 0, received)
        )
        Air.aps(air.coordinator)._acknowledged(address, ack)
        assert len(confirms) == confirmed


def test_a_repeated_block_that_the_host_took_is_acknowledged_again():
    air = Air(host_fragments=True)
    device, _ = air.join()
    air.log.on_message = air.coordinator.acknowledge_fragments
    confirms = Confirms()
    deaf = Deaf(device)
    device.send(to_hub(bytes(100)), confirms.append)
    air.run(1.0)
    deaf.hears_again()
    air.run(5.0)
    assert confirms == [ApsStatus.SUCCESS]
    assert [block.fragment for block in air.log.data()] == [Fragment(0, 2), Fragment(1, 0)]
    assert air.coordinator.counters.aps_duplicates == 1
    air.coordinator.acknowledge_fragments(air.log.messages[0])  # no fragment: nothing to do


def test_group_messages_cannot_be_secured():
    air, device, _ = on_air()
    assert air.send(to_device(device, b"x", destination=NwkAddress(0xFFFD))) == [ApsStatus.NO_LINK_KEY]


def test_a_counter_in_use_is_passed_over():
    air, device, _ = on_air()
    device.power_off()
    address = air.coordinator.address_of(DEVICE_IEEE)
    used = [air.coordinator.send(to_device(device, b"x", destination=address)) for _ in range(256)]
    assert sorted(used) == list(range(256))
    air.run(0.1)
    again = air.coordinator.send(to_device(device, b"x", destination=address, counter=used[0]))
    assert again == used[0]


def test_a_reset_forgets_acknowledgements_fragments_and_held_frames():
    air, device, _ = on_air()
    sleepy, _ = air.join(Eui64(DEVICE_IEEE + 1), poll_interval_s=60.0)
    air.run(10.0)
    confirms = Confirms()
    air.send(to_hub(b"block", fragment=Fragment(0, 3)), device)
    device.power_off()
    air.coordinator.send(to_device(sleepy, b"x"), confirms.append)
    air.coordinator.send(to_device(device, b"x", destination=air.coordinator.address_of(DEVICE_IEEE)), confirms.append)
    air.run(0.1)
    assert Air.aps(air.coordinator).awaiting
    air.coordinator.stop()
    assert not Air.aps(air.coordinator).awaiting
    air.run(60.0)
    assert confirms == []
    assert list(air.coordinator.neighbours())  # the network is still in flash
    air.coordinator.leave()
    assert list(air.coordinator.neighbours()) == []


def test_a_frame_that_the_sleeping_child_missed_stays_for_its_next_poll():
    air, device, log = on_air(poll_interval_s=2.0)
    air.run(10.0)
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    polling = device._polling
    awake, polling.stay_awake = polling.stay_awake, lambda: None  # asleep too early
    device.poll()
    air.run(0.5)
    assert (confirms, log.messages) == ([], [])
    assert air.coordinator.parent.indirect.waits_for(device.address)
    polling.stay_awake = awake
    air.run_until(lambda: confirms)
    assert confirms == [ApsStatus.SUCCESS]
    assert [message.payload for message in log.messages] == [b"x"]
    assert air.coordinator.counters.mac_failures >= 1


def test_a_device_answers_questions_about_itself_and_its_parent():
    air, device, _ = on_air()
    cases = {
        0x0000: (DEVICE_IEEE.to_bytes(8, "little") + b"\0\0", b"\0" + DEVICE_IEEE.to_bytes(8, "little")),
        0x0001: (device.address.to_bytes(2, "little") + b"\0\0", b"\0" + DEVICE_IEEE.to_bytes(8, "little")),
        0x0002: (device.address.to_bytes(2, "little"), b"\0" + device.address.to_bytes(2, "little") + b"\x02"),
        0x0005: (device.address.to_bytes(2, "little"), b"\0" + device.address.to_bytes(2, "little") + b"\x01\x07"),
        0x0031: (b"\0", b"\0\x01\0\x01"),
        0x0038: (b"\0\x08\0\0\0\x01", b"\0"),
    }
    for cluster, (question, answer) in cases.items():
        response = air.asked(air.log, air.coordinator, device.address, cluster, question, 9)
        assert response.startswith(b"\x09" + answer), hex(cluster)


def test_questions_that_get_no_answer():
    air, device, _ = on_air()
    air.log.messages.clear()
    everyone = NwkAddress(0xFFFD)
    Air.send_zdp(air.coordinator, everyone, 0x0000, STRANGER.to_bytes(8, "little") + b"\0\0")  # not ours to answer
    match = zdp.MatchDescriptorRequest(0xFFFD, 0x0104, (6,))
    Air.send_zdp(air.coordinator, everyone, 0x0006, match.to_bytes())
    Air.send_zdp(air.coordinator, everyone, 0x0006, zdp.MatchDescriptorRequest(0x7777, 0x0109, (), (0x19,)).to_bytes())
    Air.send_zdp(air.coordinator, device.address, 0x0038, b"\0\x08\0\0\xfe")  # change channel: not followed
    air.run(0.1)
    assert air.log.messages == []
    for cluster in (0x0031, 0x0034, 0x8006):
        Air.send_zdp(air.coordinator, device.address, cluster, b"")
    air.coordinator.send(to_device(device, b"", profile=0, cluster=0x0034, destination_endpoint=0))
    air.coordinator.send(to_device(device, b"", profile=0, cluster=0x8006, destination_endpoint=0))
    air.send(to_device(device, b"", profile=0, cluster=0x0005, destination_endpoint=0))
    assert device.counters.malformed == 6


def test_questions_about_strangers_and_wrong_addresses():
    air, device, _ = on_air()
    cases = {
        0x0000: STRANGER.to_bytes(8, "little") + b"\0\0",
        0x0003: b"\x77\x77",
        0x0006: zdp.MatchDescriptorRequest(0x7777, 0x0109, (0x19,)).to_bytes(),
        0x0034: STRANGER.to_bytes(8, "little") + b"\0",
    }
    for cluster, question in cases.items():
        response = air.asked(air.log, air.coordinator, device.address, cluster, question, 4)
        assert response[:2] == b"\x04\x81", hex(cluster)
    assert device.joined


def test_the_timeout_of_a_child_is_as_it_asks_or_refused():
    air, device, _ = on_air()
    child = air.coordinator.network.children[DEVICE_IEEE]
    assert child.timeout_s == 256 * 60.0
    for code in (0, 15):
        Air.inject(device, 0, nwk.EndDeviceTimeoutRequest(code).to_bytes(), command=True)
        air.run(0.1)
    assert child.timeout_s == 10.0


def test_a_network_key_that_is_used_up_sends_nothing_more():
    air, device, _ = on_air()
    air.coordinator.stop()
    air.coordinator.network.network_frame_counter = 0xFFFFFFFE
    assert air.coordinator.resume()
    confirms = Confirms()
    last = to_device(device, b"last", acknowledged=False)
    air.coordinator.send(last, confirms.append)
    air.run(0.1)
    air.coordinator.send(last, confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS, ApsStatus.NO_NETWORK]
    assert air.coordinator.network_frame_counter == 0xFFFFFFFF


def hear_from_coordinator(device, payload: bytes, *, sequence: int = 0, destination_ieee: int | None = None) -> None:
    """A command under the network key, with a counter beyond all that were used."""
    layer = Air.nwk(device)
    security = nwk.NwkSecurity(max(layer.incoming.values(), default=0) + 10**6, COORDINATOR_IEEE, sequence)
    frame = nwk.NwkFrame(device.address, 0, 1, 1, payload, nwk.NwkType.COMMAND, security, destination_ieee)
    octets = mac.data_frame(1, PAN, device.address, 0, frame.seal(cipher_for(NETWORK_KEY)))
    layer.heard(octets, 255, -40)


def test_a_frame_under_another_number_of_the_network_key_is_not_opened():
    air = Air()
    device, log = air.join()
    leave = nwk.Leave(request=True).to_bytes()
    hear_from_coordinator(device, leave, sequence=1)
    air.run(0.1)
    assert (device.counters.nwk_security_failures, log.lefts) == (1, 0)
    hear_from_coordinator(device, leave)
    air.run(0.1)
    assert (device.counters.nwk_security_failures, log.lefts) == (1, 1)


def test_the_answer_to_anothers_rejoin_is_not_taken():
    air = Air()
    device, _ = air.join()
    air.medium.settings = MediumSettings(delay_s=0.05)
    device.power_off()
    device.power_on()
    air.run_until(lambda: device.address != 0xFFFF)  # it has asked
    air.coordinator.stop()
    answer = nwk.RejoinResponse(device.address, 0).to_bytes()
    hear_from_coordinator(device, answer, destination_ieee=STRANGER)
    assert (device.joined, device.counters.malformed) == (False, 1)
    hear_from_coordinator(device, answer, destination_ieee=DEVICE_IEEE)
    assert (device.joined, device.counters.malformed) == (True, 1)


def test_a_leave_that_asks_the_coordinator_to_go_is_not_the_news_of_having_gone():
    air = Air()
    device, _ = air.join()
    layer = Air.nwk(device)
    layer.emit(layer.frame(0, nwk.Leave(request=True).to_bytes(), command=True), 0)
    air.run(0.1)
    assert air.coordinator.counters.unexpected == 1
    assert air.coordinator.address_of(DEVICE_IEEE) == device.address


def test_a_block_is_always_acknowledged():
    air = Air()
    device, _ = air.join()
    air.coordinator.send(to_device(device, b"block", fragment=Fragment(0, 2), acknowledged=False))
    assert Air.aps(air.coordinator).awaiting
    air.run(0.1)
    assert not Air.aps(air.coordinator).awaiting


def test_attempts_to_join_come_at_growing_intervals_up_to_a_minute():
    air = Air(MediumSettings(airtime=False))
    device, log = air.add_device()
    device.join()  # nobody lets it in
    at: list[float] = []
    for attempt in range(9):
        air.run_until(lambda: len(log.failures) > attempt, 200)  # noqa: B023 called before the next turn
        at.append(air.queue.now)
    scan_s = at[0]
    waits = [later - earlier - scan_s for earlier, later in pairwise(at)]
    longest = [1, 2, 4, 8, 16, 32, 60, 60]
    shares = [wait / most for wait, most in zip(waits, longest, strict=True)]
    assert all(0.5 <= share <= 1.0 for share in shares)  # half of it is left to chance
    assert max(shares) - min(shares) > 0.2


def test_the_neighbour_table_is_told_page_by_page():
    air = Air()
    devices = [air.join(Eui64(DEVICE_IEEE + index))[0] for index in range(5)]
    told: list[int] = []
    for start in (0, 3):
        air.log.messages.clear()
        Air.send_zdp(devices[0], 0, 0x0031, bytes([start]))
        device_heard: list[bytes] = []
        devices[0].listener.on_message = lambda message: device_heard.append(message.payload)  # noqa: B023 now
        air.run(0.1)
        response = zdp.MgmtLqiResponse.from_bytes(device_heard[0][1:])
        assert (response.total, response.start_index) == (5, start)
        told += [neighbour.ieee for neighbour in response.neighbours]
    assert told == [device.ieee for device in devices]
