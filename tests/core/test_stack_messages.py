"""Data between a hub and a device: acknowledgements, retries, duplicates, replays, fragments, sleep."""

from random import Random

import pytest

from devices.medium.medium import MediumSettings
from devices.stack.interface import ApsStatus, Eui64, Fragment, LinkKey, NwkAddress
from devices.wire import mac
from devices.wire.aps import ApsFrame, ApsType
from devices.wire.mac import MacFrame, MacType
from tests.support.air import DEVICE_IEEE, OTA, SMART_ENERGY, Air, Confirms, Deaf, on_air, to_device, to_hub

MESSAGE = bytes(index * 11 & 0xFF for index in range(400))


def data_frames(air: Air) -> list[bytes]:
    return [octets for *_, octets in air.frames if octets[0] & 7 == MacType.DATA]


def test_maximum_payload_is_82_and_73_with_a_link_key():
    air, device, _ = on_air()
    assert device.maximum_payload(secured=False) == 82
    assert device.maximum_payload(secured=True) == 73
    air.frames.clear()
    air.send(to_device(device, bytes(73)))
    assert len(data_frames(air)[0]) == 127


def test_an_unacknowledged_message_is_confirmed_by_the_mac():
    air, device, log = on_air()
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x", acknowledged=False), confirms.append)
    air.run(0.02)
    assert confirms == [ApsStatus.SUCCESS]
    assert [message.payload for message in log.messages] == [b"x"]
    device.power_off()
    air.coordinator.send(to_device_at(air, b"y", acknowledged=False), confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS, ApsStatus.NO_ACK]


def to_device_at(air: Air, payload: bytes, **options):
    """To the device's address, whether or not it is listening there."""
    device = type("Gone", (), {"address": air.coordinator.address_of(DEVICE_IEEE)})
    return to_device(device, payload, **options)


def test_a_dead_device_costs_four_tries_and_then_no_ack():
    air, device, _ = on_air()
    device.power_off()
    confirms = Confirms()
    air.frames.clear()
    start = air.queue.now
    air.coordinator.send(to_device_at(air, b"x"), confirms.append)
    air.run_until(lambda: confirms)
    assert confirms == [ApsStatus.NO_ACK]
    assert 4 * 1.6 < air.queue.now - start < 4 * 1.6 + 4 * 0.05  # what four tries of the MAC take
    assert len(data_frames(air)) == 4 * (1 + 3)  # APS tries times MAC tries
    assert air.coordinator.counters.aps_retries == 3


def test_statuses_of_messages_that_cannot_go_out():
    air, device, _ = on_air()
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x", destination=NwkAddress(0x7777)), confirms.append)
    air.coordinator.send(to_device(device, b"x", destination=NwkAddress(0x7777), secured=False), confirms.append)
    del air.keys.keys[DEVICE_IEEE]
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.coordinator.send(to_device(device, bytes(83), destination=NwkAddress(0xFFFD), secured=False), confirms.append)
    assert confirms == []
    air.run(0.1)
    assert confirms == [ApsStatus.UNKNOWN_DESTINATION, ApsStatus.NO_LINK_KEY, ApsStatus.TOO_LONG]
    air.run(1.0)  # in which a way to the second was looked for
    assert confirms[3:] == [ApsStatus.UNKNOWN_DESTINATION]
    air.coordinator.stop()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.run(0.1)
    assert confirms[4:] == [ApsStatus.NO_NETWORK]


def test_a_message_to_oneself_stays_off_the_air():
    air = Air()
    air.frames.clear()
    confirms = Confirms()
    air.coordinator.send(
        to_hub(b"\x2a\x00\x00", profile=0, cluster=0x0002, source_endpoint=0, destination_endpoint=0, secured=False),
        confirms.append,
    )
    air.run(0.1)
    (answer,) = air.log.messages
    assert confirms == [ApsStatus.SUCCESS]
    assert (answer.cluster, answer.source) == (0x8002, 0)
    assert answer.payload[:5] == b"\x2a\x00\x00\x00\x00"  # Node_Desc_rsp: success, our address, coordinator
    assert air.frames == []


def test_a_replayed_frame_is_refused_and_counted():
    air, device, log = on_air()
    air.frames.clear()
    air.send(to_device(device, b"once", acknowledged=False))
    captured = data_frames(air)[0][:-2]
    attacker = air.medium.attach(0xBAD, lambda *_: None)
    attacker.tune(device.persistent_state.channel, device.persistent_state.pan_id, 0xBAD)
    before = device.counters.nwk_replays
    attacker.transmit(captured)
    air.run(0.1)
    assert len(log.messages) == 1
    assert device.counters.nwk_replays == before + 1


def test_a_replay_of_the_aps_frame_under_fresh_network_security_is_refused_too():
    air, device, log = on_air()
    key = device.persistent_state.link_key
    air.send(to_device(device, b"first", acknowledged=False))
    assert key.incoming_counter >= 0
    key.incoming_counter += 1  # one more was accepted than the hub knows of
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"again", acknowledged=False), confirms.append)
    air.run(0.1)
    assert [message.payload for message in log.messages] == [b"first"]
    assert device.counters.aps_replays == 1


def test_a_key_that_is_imported_anew_does_not_make_its_messages_replays():
    air, device, log = on_air()
    for _ in range(3):
        air.send(to_device(device, b"old"))
    air.keys.keys[DEVICE_IEEE] = LinkKey(air.keys.keys[DEVICE_IEEE].key)
    air.send(to_device(device, b"new"))
    assert log.messages[-1].payload == b"new"
    assert device.counters.aps_replays == 0


def test_a_lost_acknowledgement_makes_a_duplicate_that_is_acknowledged_again_but_not_delivered():
    air, device, log = on_air()
    confirms = Confirms()
    deaf = Deaf(air.coordinator)
    air.coordinator.send(to_device(device, b"twice"), confirms.append)
    air.run(1.0)
    deaf.hears_again()
    air.run(1.0)
    assert confirms == [ApsStatus.SUCCESS]
    assert [message.payload for message in log.messages] == [b"twice"]
    assert device.counters.aps_duplicates == 1


def test_the_same_counter_a_lap_later_is_no_duplicate():
    air, device, _ = on_air()
    for _ in range(300):
        air.send(to_hub(b"lap", acknowledged=False), device, seconds=0.01)
    assert len(air.log.data()) == 300
    assert air.coordinator.counters.aps_duplicates == 0


def test_a_message_is_known_by_its_sender_and_counter_alone_while_it_is_one_of_the_last_five():
    air, device, log = on_air()

    def say(payload: bytes, counter: int) -> list[ApsStatus]:
        return air.send(to_device(device, payload, counter=counter))

    assert say(b"first", 77) == [ApsStatus.SUCCESS]
    assert say(b"another", 77) == [ApsStatus.SUCCESS]  # acknowledged, and handed to nobody
    for counter in range(78, 82):
        say(b"between", counter)
    say(b"again", 77)
    say(b"one more between", 82)
    say(b"a lap later", 77)
    payloads = [message.payload for message in log.messages]
    assert payloads == [b"first", *[b"between"] * 4, b"one more between", b"a lap later"]
    assert device.counters.aps_duplicates == 2


@pytest.mark.parametrize("length", [74, 142, 143, 400])
def test_long_messages_are_fragmented_both_ways(length):
    air, device, log = on_air()
    confirms = Confirms()
    air.coordinator.send(to_device(device, MESSAGE[:length]), confirms.append)
    device.send(to_hub(MESSAGE[:length]), confirms.append)
    air.run(1.0)
    assert confirms == [ApsStatus.SUCCESS] * 2
    assert [message.payload for message in log.messages] == [MESSAGE[:length]]
    assert [message.payload for message in air.log.data()] == [MESSAGE[:length]]
    assert all(message.fragment is None and message.secured for message in (*log.messages, *air.log.data()))


@pytest.mark.parametrize("seed", range(6))
def test_fragments_and_short_messages_survive_loss_and_arrive_once(seed):
    air = Air(seed=seed)
    device, log = air.join()
    air.medium.settings = MediumSettings(loss=0.3, duplication=0.2, delay_s=0.003)
    confirms = Confirms()
    sent = [bytes((index,)) * (300 if index % 3 else 20) for index in range(12)]
    for payload in sent:
        device.send(to_hub(payload), confirms.append)
        air.coordinator.send(to_device(device, payload), confirms.append)
        air.run(8.0)
    air.run(40.0)
    assert len(confirms) == 24
    assert confirms.count(ApsStatus.SUCCESS) >= 18
    for arrived in (log.messages, air.log.data()):
        payloads = [message.payload for message in arrived]
        assert len(set(payloads)) == len(payloads)
        assert set(payloads) <= set(sent)
    delivered = len(log.messages) + len(air.log.data())
    assert delivered >= confirms.count(ApsStatus.SUCCESS)
    assert device.counters.nwk_replays + air.coordinator.counters.nwk_replays > 0


def test_an_unfinished_message_is_given_up():
    air, device, log = on_air()
    air.send(to_device(device, b"block", fragment=Fragment(0, 3)), seconds=5.0)
    assert Air.aps(device).awaiting
    air.run(5.0)
    assert not Air.aps(device).awaiting
    assert device.counters.fragments_expired == 1
    assert log.messages == []


def test_a_host_that_fragments_sees_and_sends_single_blocks():
    air = Air(host_fragments=True)
    device, log = air.join()
    confirms = Confirms()
    air.log.on_message = air.coordinator.acknowledge_fragments
    device.send(to_hub(MESSAGE[:200]), confirms.append)
    air.run(1.0)
    blocks = air.log.data()
    assert [block.fragment for block in blocks] == [Fragment(0, 3), Fragment(1, 0), Fragment(2, 0)]
    assert b"".join(block.payload for block in blocks) == MESSAGE[:200]
    assert len({block.counter for block in blocks}) == 1
    counter = None
    for index in range(3):
        block = MESSAGE[index * 71 : index * 71 + 71][: 200 - index * 71]
        request = to_device(device, block, fragment=Fragment(index, 3), counter=counter)
        counter = air.coordinator.send(request, confirms.append)
        air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS] * 4
    assert [message.payload for message in log.messages] == [MESSAGE[:200]]
    air.coordinator.send(to_device(device, bytes(74)), confirms.append)
    air.run(0.1)
    assert confirms[-1] is ApsStatus.TOO_LONG


def test_a_block_that_the_host_does_not_acknowledge_is_repeated_but_shown_once():
    air = Air(host_fragments=True)
    device, _ = air.join()
    assert air.send(to_hub(MESSAGE[:200]), device, seconds=10.0) == [ApsStatus.NO_ACK]
    assert len(air.log.data()) == 1
    assert air.coordinator.counters.aps_duplicates == 3


def test_a_sleepy_child_gets_its_messages_when_it_polls():
    air, device, log = on_air(poll_interval_s=2.0)
    air.run(5.0)
    confirms = Confirms()
    start = air.queue.now
    air.coordinator.send(to_device(device, b"one", acknowledged=False), confirms.append)
    air.coordinator.send(to_device(device, b"two"), confirms.append)
    air.run(0.1)
    assert confirms == []
    air.run_until(lambda: len(confirms) == 2)
    assert air.queue.now - start <= 2.0
    assert confirms == [ApsStatus.SUCCESS] * 2
    assert [message.payload for message in log.messages] == [b"one", b"two"]
    air.run(0.5)
    assert not Air.nwk(device).radio.listening


def test_what_a_sleepy_child_does_not_fetch_expires():
    air, device, log = on_air(poll_interval_s=60.0)
    air.run(10.0)
    confirms = Confirms()
    start = air.queue.now
    air.coordinator.send(to_device(device, b"late"), confirms.append)
    air.run_until(lambda: confirms)
    assert confirms == [ApsStatus.EXPIRED]
    assert air.queue.now - start == pytest.approx(7.68)
    assert air.coordinator.counters.indirect_expired == 1
    assert log.messages == []


def test_a_sleepy_child_polls_quickly_while_it_waits_for_an_answer():
    air, device, _ = on_air(poll_interval_s=30.0)
    air.run(5.0)
    confirms = Confirms()
    start = air.queue.now
    device.send(to_hub(b"ask"), confirms.append)
    air.run_until(lambda: confirms)
    assert confirms == [ApsStatus.SUCCESS]
    assert air.queue.now - start < 1.0


def test_a_device_may_take_to_sleeping_and_back():
    air, device, log = on_air()
    device.set_poll_interval(1.0)
    air.run_until(lambda: device.joined)
    assert not air.coordinator.network.children[DEVICE_IEEE].receiver_on_when_idle
    device.set_poll_interval(None)
    air.run_until(lambda: device.joined)
    assert air.coordinator.network.children[DEVICE_IEEE].receiver_on_when_idle
    assert log.joins == [False, True, True]
    with pytest.raises(ValueError, match="poll interval"):
        device.set_poll_interval(0.0)


def test_counters_never_repeat_over_a_reset():
    air, device, log = on_air()
    state = air.coordinator.network
    for _ in range(3):
        air.coordinator.send(to_device(device, b"x", acknowledged=False))
    air.run(0.1)
    used = air.coordinator.network_frame_counter
    assert state.network_frame_counter > used
    air.coordinator.stop()
    assert air.coordinator.resume()
    assert air.coordinator.network_frame_counter > used
    air.run(0.1)
    assert air.log.ups == 2
    assert air.send(to_device(device, b"after")) == [ApsStatus.SUCCESS]
    assert log.messages[-1].payload == b"after"


def test_a_stopped_coordinator_is_silent_and_forgets_what_was_under_way():
    air, device, _ = on_air()
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.coordinator.stop()
    air.frames.clear()
    air.run(10.0)
    assert confirms == []
    assert air.frames == []


def test_junk_on_the_air_is_dropped_and_counted_whatever_it_is():
    air, device, log = on_air()
    sniffed = [octets[:-2] for *_, octets in air.frames]
    random = Random(7)
    attacker = air.medium.attach(0xBAD, lambda *_: None)
    attacker.tune(15, 0x1A62, 0xBAD)
    coordinator, state = air.coordinator, device.persistent_state
    for _ in range(4000):
        octets = bytearray(random.choice(sniffed))
        for _ in range(random.randint(1, 4)):
            octets[random.randrange(len(octets))] = random.randrange(256)
        octets = octets[: random.randint(3, len(octets))]
        for target in (device, coordinator):
            Air.nwk(target).heard(bytes(octets), 255, -40)
        plain = random.randbytes(random.randint(0, 60))
        for target, source, destination in ((device, 0, device.address), (coordinator, device.address, 0)):
            Air.nwk(target).heard(mac.data_frame(1, state.pan_id, destination, source, plain), 255, -40)
        air.run(0.0)
    counters = (device.counters, coordinator.counters)
    assert all(counter.malformed > 100 and counter.nwk_security_failures > 100 for counter in counters)
    assert log.messages == []
    assert air.log.data() == []
    assert log.lefts == 0


def test_junk_inside_good_network_security_is_dropped_and_counted():
    air, device, _ = on_air()
    random = Random(11)
    coordinator = air.coordinator
    for _ in range(3000):
        payload = random.randbytes(random.randint(0, 40))
        command = random.random() < 0.5
        if command and payload[:1] == b"\x04":  # a true leave would be obeyed
            continue
        Air.inject(coordinator, device.address, payload, command=command)
        Air.inject(device, 0, payload, command=command)
        air.run(0.02)
    assert device.counters.malformed > 100
    assert coordinator.counters.malformed > 100
    assert air.send(to_device(device, b"still here"), coordinator, seconds=10.0) == [ApsStatus.SUCCESS]


def test_broadcasts_reach_whom_they_are_for_and_name_their_originator_only():
    air = Air()
    awake, awake_log = air.join()
    sleepy, sleepy_log = air.join(Eui64(DEVICE_IEEE + 1), poll_interval_s=1.0)
    other, other_log = air.join(Eui64(DEVICE_IEEE + 2))
    for log in (awake_log, sleepy_log, other_log):
        log.messages.clear()
    air.log.messages.clear()
    for address in (0xFFFC, 0xFFFD, 0xFFFF):
        request = to_hub(address.to_bytes(2, "big"), destination=NwkAddress(address), secured=False)
        air.coordinator.send(request)
        awake.send(request)
        air.run(3.0)
    everyone, awake_only = b"\xff\xff", b"\xff\xfd"
    assert [message.payload for message in awake_log.messages] == [awake_only, everyone]
    assert [message.payload for message in sleepy_log.messages] == [everyone] * 2
    assert [message.payload for message in other_log.messages] == [awake_only] * 2 + [everyone] * 2
    assert [message.source_ieee for message in other_log.messages[:2]] == [air.coordinator.ieee, None]
    assert [message.source_ieee for message in air.log.messages] == [awake.ieee] * 3
    assert sleepy.joined
    assert other.joined


def test_a_group_message_has_one_octet_less():
    air, device, log = on_air()
    confirms = Confirms()
    for length in (81, 82):
        request = to_device(device, bytes(length), destination=NwkAddress(0xFFFD), group=5, secured=False)
        air.coordinator.send(request, confirms.append)
    air.run(0.1)
    assert [(message.group, len(message.payload)) for message in log.messages] == [(5, 81)]
    assert sorted(status.name for status in confirms) == ["SUCCESS", "TOO_LONG"]


def test_a_device_that_is_looking_for_its_parent_sends_nothing_of_the_application():
    air, device, _ = on_air()
    device.rejoin()
    assert air.send(to_hub(b"x"), device, seconds=0.05) == [ApsStatus.NO_NETWORK]


def test_a_malformed_message_to_oneself_is_dropped_and_counted():
    air = Air()
    for cluster in (0x0013, 0x0004):
        request = to_hub(b"\x01", profile=0, cluster=cluster, source_endpoint=0, destination_endpoint=0, secured=False)
        air.coordinator.send(request)
    air.run(0.1)
    assert air.coordinator.counters.malformed == 2
    assert air.log.messages == []


def test_an_unsecured_message_is_not_taken():
    air, device, log = on_air()
    Air.inject(air.coordinator, device.address, bytes(12), secured=False)
    air.run(0.1)
    assert log.messages == []
    assert device.counters.nwk_unsecured == 1
    Air.inject(device, 0, bytes(12), secured=False)
    air.run(0.1)
    assert air.coordinator.counters.nwk_unsecured == 1


def test_a_used_up_counter_stops_the_key():
    air, device, _ = on_air()
    confirms = Confirms()
    air.keys.keys[DEVICE_IEEE] = LinkKey(air.keys.keys[DEVICE_IEEE].key, outgoing_counter=0xFFFFFFFF)
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.NO_LINK_KEY]


def test_sixty_four_devices_at_once():
    air = Air()
    devices = [air.add_device(Eui64(DEVICE_IEEE + index))[0] for index in range(64)]
    air.coordinator.permit(60)
    for device in devices:
        device.join()
    air.run(10.0)
    assert all(device.joined for device in devices)
    assert len({device.address for device in devices}) == 64
    confirms = Confirms()
    for device in devices:
        device.send(to_hub(device.ieee.to_bytes(8, "little")), confirms.append)
        air.coordinator.send(to_device(device, b"hello"), confirms.append)
    air.run(5.0)
    assert confirms == [ApsStatus.SUCCESS] * 128
    assert len(air.log.data()) == 64
    assert all(isinstance(MacFrame.from_bytes(octets[:-2]), MacFrame) for *_, octets in air.frames)


@pytest.mark.parametrize(
    "changes",
    [{"cluster": 0x0704}, {"profile": 0x0104}, {"source_endpoint": 8}, {"destination_endpoint": 4}, {"counter": 78}],
    ids=lambda changes: next(iter(changes)),
)
def test_an_acknowledgement_of_something_else_confirms_nothing(changes):
    air, device, _ = on_air()
    address = device.address
    device.power_off()
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x", destination=address, counter=77, secured=False), confirms.append)
    air.run(0.1)
    right = ApsFrame(3, OTA, SMART_ENERGY, 7, 77, type=ApsType.ACK)
    unexpected = air.coordinator.counters.unexpected
    Air.aps(air.coordinator)._acknowledged(address, right._replace(**changes))
    assert confirms == []
    assert air.coordinator.counters.unexpected == unexpected + 1
    Air.aps(air.coordinator)._acknowledged(NwkAddress(address ^ 1), right)  # of another device
    assert confirms == []
    Air.aps(air.coordinator)._acknowledged(address, right)
    assert confirms == [ApsStatus.SUCCESS]


def test_only_a_frame_with_others_behind_it_says_that_more_is_pending():
    air, device, log = on_air(poll_interval_s=5.0)
    air.run(10.0)
    for payload in (b"one", b"two", b"three"):
        air.coordinator.send(to_device(device, payload, acknowledged=False))
    air.frames.clear()
    air.run_until(lambda: len(log.messages) == 3)
    sent = [MacFrame.from_bytes(octets[:-2]) for *_, octets in air.frames]
    pending = [frame.pending for frame in sent if frame.type is MacType.DATA and frame.destination == device.address]
    assert pending == [True, True, False]
    polls = [frame for frame in sent if frame.type is MacType.COMMAND]
    assert len(polls) == 3  # and the child asks for no more than there is


def test_broadcasts_to_routers_are_spread_and_a_sleeper_does_not_get_its_own_back():
    air = Air()
    sleepy, _ = air.join(poll_interval_s=60.0)
    air.run(10.0)
    air.frames.clear()
    sleepy.send(to_hub(b"to routers", destination=NwkAddress(0xFFFC), secured=False))
    sleepy.send(to_hub(b"to all", destination=NwkAddress(0xFFFF), secured=False))
    air.run(0.1)
    broadcasts = [MacFrame.from_bytes(octets[:-2]) for octets in data_frames(air)]
    spread = [frame for frame in broadcasts if frame.destination == 0xFFFF and frame.source == 0]
    assert len(spread) == 2
    assert not air.coordinator.parent.indirect.waits_for(sleepy.address)
