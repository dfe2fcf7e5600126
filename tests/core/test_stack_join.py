import pytest

from devices.medium.medium import MediumSettings
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import ApsRequest, ApsStatus, Eui64, JoinKind, LinkKey, NetworkState, NwkAddress
from devices.wire.mac import MacFrame, MacType
from tests.support.air import (
    CHANNEL,
    COORDINATOR_IEEE,
    DEVICE_IEEE,
    LINK_KEY,
    Air,
    Confirms,
    CoordinatorLog,
    KeyTable,
    on_air,
    to_device,
    to_hub,
)


def test_joins_with_its_install_code_and_announces_itself():
    air = Air()
    assert air.log.ups == 1
    device, log = air.join()
    assert log.joins == [False]
    ((ieee, address, kind),) = air.log.joins
    assert (ieee, kind) == (DEVICE_IEEE, JoinKind.ASSOCIATED)
    assert device.address == address == air.coordinator.address_of(DEVICE_IEEE)
    assert air.coordinator.ieee_of(address) == DEVICE_IEEE
    (announce,) = [message for message in air.log.messages if message.cluster == 0x0013]
    assert announce.payload[1:3] == address.to_bytes(2, "little")
    assert announce.destination == 0xFFFD
    assert air.log.refusals == []


def test_secured_messages_go_both_ways_and_are_acknowledged():
    air, device, log = on_air()
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"down"), confirms.append)
    device.send(to_hub(b"up"), confirms.append)
    assert confirms == []
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS] * 2
    (down,) = log.messages
    (up,) = air.log.data()
    assert (down.payload, down.secured, down.source_ieee) == (b"down", True, COORDINATOR_IEEE)
    assert (up.payload, up.secured, up.source_ieee, up.source) == (b"up", True, DEVICE_IEEE, device.address)


def test_a_closed_network_lets_nobody_in():
    air = Air()
    device, log = air.add_device()
    device.join()
    air.run(5.0)
    assert not device.joined
    assert set(log.failures) == {"no network that lets devices join"}
    assert air.log.joins == []


def test_a_device_without_a_key_in_the_table_is_refused():
    air = Air()
    device, _ = air.add_device(known=False)
    air.coordinator.permit(60)
    device.join()
    air.run(20.0)
    assert not device.joined
    assert (DEVICE_IEEE, "no link key for this device") in air.log.refusals
    assert air.coordinator.address_of(DEVICE_IEEE) is None


def test_a_wrong_install_code_never_gets_the_network_key():
    air = Air()
    device, log = air.add_device()
    air.keys.keys[DEVICE_IEEE] = LinkKey(bytes(16))
    air.coordinator.permit(5)
    device.join()
    air.run(60.0)
    assert not device.joined
    assert device.counters.aps_security_failures > 0
    assert "the network key does not open with this device's install code" in log.failures
    assert any("install code" in reason for _, reason in air.log.refusals)
    assert air.coordinator.address_of(DEVICE_IEEE) is None


def test_rejoins_with_the_stored_network_and_keeps_its_address():
    air, device, log = on_air()
    address = device.address
    device.power_off()
    air.run(10.0)
    device.power_on()
    air.run_until(lambda: device.joined)
    assert log.joins == [False, True]
    assert device.address == address
    assert air.log.joins[-1] == (DEVICE_IEEE, address, JoinKind.REJOINED_SECURED)
    assert air.send(to_hub(b"again"), device) == [ApsStatus.SUCCESS]


def test_a_sleepy_device_that_restarts_fetches_all_that_waits_until_its_rejoin_is_answered():
    """What its parent held back for it from before comes first, and says each time that more is pending."""
    air, device, log = on_air(poll_interval_s=60.0)
    before = [to_device(device, bytes((number,)), acknowledged=False) for number in range(5)]
    device.power_off()
    for message in before:
        air.coordinator.send(message)
    air.run(0.1)
    device.power_on()
    air.run_until(lambda: device.joined, 5.0)
    assert log.failures == []
    assert log.joins == [False, True]


def test_two_devices_get_addresses_of_their_own():
    air = Air()
    first, _ = air.join()
    second, _ = air.join(Eui64(DEVICE_IEEE + 1))
    assert first.joined
    assert first.address != second.address


def test_the_key_of_another_device_does_not_open_its_messages():
    air, device, log = on_air()
    air.keys.keys[DEVICE_IEEE] = LinkKey(bytes(reversed(LINK_KEY)))
    assert air.send(to_device(device, b"x"), seconds=10.0) == [ApsStatus.NO_ACK]
    assert log.messages == []
    assert device.counters.aps_security_failures == 4


def test_a_device_that_lost_the_network_key_comes_back_through_the_trust_centre():
    air, device, log = on_air()
    address = device.address
    device.power_off()
    device.persistent_state.network_key = bytes(16)
    device.power_on()
    air.run_until(lambda: device.joined)
    assert log.joins == [False, True]
    assert device.address == address
    assert air.log.joins[-1] == (DEVICE_IEEE, address, JoinKind.REJOINED_UNSECURED)


def test_an_unsecured_rejoin_may_be_refused_by_policy():
    air, device, log = on_air()
    air.coordinator.trust_centre.unsecured_rejoin_allowed = False
    device.power_off()
    device.persistent_state.network_key = bytes(16)
    device.power_on()
    air.run(10.0)
    assert not device.joined
    assert (DEVICE_IEEE, "unsecured rejoin is not allowed") in air.log.refusals
    assert "the rejoin was refused with status 2" in log.failures


def test_a_child_that_was_silent_too_long_is_forgotten_and_called_back():
    air, device, log = on_air()
    air.coordinator.network.children[DEVICE_IEEE].timeout_s = 100.0
    air.run(200.0)
    assert air.coordinator.address_of(DEVICE_IEEE) is None
    assert air.send(to_hub(b"who am I"), device, seconds=5.0) == [ApsStatus.SUCCESS]  # by a retry, after the rejoin
    assert device.joined
    assert log.joins == [False, True]
    assert air.coordinator.address_of(DEVICE_IEEE) == device.address


def test_an_awake_child_keeps_itself_known():
    air, device, log = on_air()
    air.run(3 * 86400.0)
    assert air.coordinator.address_of(DEVICE_IEEE) == device.address
    assert log.joins == [False]


def test_a_device_notices_that_its_parent_is_gone_and_finds_it_again():
    air, device, log = on_air()
    air.coordinator.stop()
    confirms = Confirms()
    device.send(to_hub(b"1", acknowledged=False), confirms.append)
    for _ in range(3):
        device.send(to_hub(b"n", acknowledged=False))
    air.run(30.0)
    assert confirms == [ApsStatus.NO_ACK]
    assert not device.joined
    assert air.coordinator.resume()
    air.run_until(lambda: device.joined, seconds=130.0)
    assert log.joins == [False, True]


def test_remove_sends_the_device_away_for_good():
    air, device, log = on_air()
    air.coordinator.remove(DEVICE_IEEE)
    air.run(5.0)
    assert not device.joined
    assert log.lefts == 1
    assert air.log.leaves == [DEVICE_IEEE]
    assert device.persistent_state.network_key is None
    assert air.coordinator.address_of(DEVICE_IEEE) is None


def test_removing_a_device_that_is_off_strikes_it_off():
    air, device, _ = on_air()
    device.power_off()
    air.coordinator.remove(DEVICE_IEEE)
    air.run(1.0)
    assert air.log.leaves == [DEVICE_IEEE]
    assert air.coordinator.address_of(DEVICE_IEEE) is None


def test_mgmt_leave_is_answered_and_obeyed():
    air, device, log = on_air()
    Air.send_zdp(air.coordinator, device.address, 0x0034, DEVICE_IEEE.to_bytes(8, "little") + b"\x00", 0x55)
    air.run(1.0)
    answers = [message for message in air.log.messages if message.cluster == 0x8034]
    assert [answer.payload for answer in answers] == [b"\x55\x00"]
    assert log.lefts == 1
    assert air.log.leaves == [DEVICE_IEEE]


def test_a_zdp_request_that_a_device_does_not_know_is_answered_not_supported():
    air, device, _ = on_air()
    for destination, answers in ((device.address, [(0x8032, b"\x21\x84")]), (NwkAddress(0xFFFF), [])):
        air.log.messages.clear()
        air.coordinator.send(ApsRequest(destination, 0, 0x0032, 0, 0, b"\x21\x00", acknowledged=False))
        air.run(1.0)
        assert [(message.cluster, message.payload) for message in air.log.messages] == answers


def test_a_device_that_left_may_join_again_with_the_same_key():
    air, device, log = on_air()
    air.coordinator.send(to_device(device, b"x"))
    air.send(to_hub(b"y"), device)
    air.coordinator.remove(DEVICE_IEEE)
    air.run(5.0)
    air.coordinator.permit(60)
    device.join()
    air.run_until(lambda: device.joined)
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    device.send(to_hub(b"y"), confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS] * 2
    assert log.joins == [False, False]


def test_a_new_network_is_not_taken_for_the_old_one():
    air, device, log = on_air()
    air.coordinator.leave()
    air.run(0.1)
    assert air.log.downs == 1
    assert not air.coordinator.resume()
    device.power_off()
    device.power_on()
    air.run(30.0)
    assert not device.joined
    assert "no network to go back to" in log.failures


def test_match_descriptor_finds_the_ota_server():
    air, device, _ = on_air()
    answers = []
    device.match_descriptor(0x0109, (0x0019,), answers.append)
    device.match_descriptor(0x0104, (0x0019,), answers.append)
    device.match_descriptor(0x0109, (0x0500,), answers.append)
    assert answers == []
    air.run(1.0)
    assert answers == [(3,), (), ()]
    air.coordinator.stop()
    device.match_descriptor(0x0109, (0x0019,), answers.append)
    air.run(10.0)
    assert answers[3:] == [()]


def test_power_cut_in_the_midst_of_joining_is_harmless():
    for moment in range(1, 60):
        air = Air(seed=moment)
        device, _ = air.add_device()
        air.coordinator.permit(300)
        device.join()
        air.run(moment * 0.02)
        device.power_off()
        air.frames.clear()
        air.run(1.0)
        assert not device.joined
        device.power_on()
        air.run_until(lambda device=device: device.joined)
        assert air.send(to_hub(b"x"), device) == [ApsStatus.SUCCESS]


def test_the_coordinator_answers_questions_about_itself():
    air, device, log = on_air()
    air.log.messages.clear()
    hub, one = COORDINATOR_IEEE.to_bytes(8, "little"), DEVICE_IEEE.to_bytes(8, "little")
    questions = {
        0x0000: (hub + b"\0\0", b"\0" + hub + b"\0\0"),
        0x0001: (b"\0\0\0\0", b"\0" + hub + b"\0\0"),
        0x0003: (b"\0\0", b"\0\0\0"),
        0x0004: (b"\0\0\3", b"\0\0\0"),
        0x0005: (b"\0\0", b"\0\0\0\x01\x03"),
        0x0021: (one + b"\x07\x19\x00\x03" + hub + b"\x03", b"\0"),
        0x0031: (b"\0", b"\0\x01\0\x01"),
        0x0038: (b"\x00\x88\x00\x00\x00\x01", b"\0"),
    }
    for cluster, (question, answer) in questions.items():
        assert air.asked(log, device, 0, cluster, question, 0x33).startswith(b"\x33" + answer), hex(cluster)
    assert air.log.messages == []  # the stack answered by itself


def test_questions_about_others_are_answered_with_not_found():
    air, device, log = on_air()
    for cluster, question, status in (
        (0x0001, b"\x77\x77\0\0", 0x81),
        (0x0002, b"\x77\x77", 0x81),
        (0x0004, b"\x77\x77\3", 0x81),
        (0x0005, b"\x77\x77", 0x81),
        (0x0004, b"\0\0\xff", 0x82),
        (0x0004, b"\0\0\x09", 0x83),
    ):
        assert air.asked(log, device, 0, cluster, question, 1)[1] == status


def test_a_known_device_that_joins_factory_new_counts_from_the_start_and_keeps_its_address():
    air = Air()
    before, _ = air.join()
    for _ in range(5):
        air.send(to_hub(b"so far"), before)
    address = before.address
    before.power_off()
    air.keys.keys[DEVICE_IEEE] = LinkKey(LINK_KEY)  # the host adds it anew
    heard = len(air.log.data())
    device, log = air.join()
    assert (device.address, log.failures) == (address, [])
    assert air.send(to_hub(b"anew"), device, seconds=20.0) == [ApsStatus.SUCCESS]
    assert [message.payload for message in air.log.data()[heard:]] == [b"anew"]
    assert air.coordinator.counters.nwk_replays == 0
    assert air.log.refusals == []


def test_a_secured_rejoin_does_not_start_the_counters_anew():
    air, device, _ = on_air()
    device.power_off()
    device.power_on()
    air.run_until(lambda: device.joined)
    counter = Air.nwk(air.coordinator).incoming[DEVICE_IEEE]
    assert counter >= 1024  # written ahead, and so gone on from there
    replayed = next(octets for *_, octets in air.frames if is_data_from(octets, device.address))
    before = air.coordinator.counters.nwk_replays
    Air.nwk(air.coordinator).heard(replayed[:-2], 255, -40)
    assert air.coordinator.counters.nwk_replays == before + 1


def is_data_from(octets: bytes, address: int) -> bool:
    """A secured NWK data frame on the air, with its FCS."""
    frame = MacFrame.from_bytes(octets[:-2])
    return frame.type is MacType.DATA and frame.source == address and frame.payload[1] & 0x02 != 0


def test_after_a_network_that_refuses_it_a_device_tries_the_next_best():
    air = Air()
    nearer = Eui64(0x00124B0000000002)
    log = CoordinatorLog()
    other = ZigbeeCoordinator(nearer, air.medium, air.queue, air.random, link_keys=KeyTable(), listener=log)
    other.form(NetworkState(11, 0x2B73, 0x00124B00000000BB, bytes(16)))
    air.run(0.1)
    device, device_log = air.add_device(position_m=(20.0, 0.0))
    Air.nwk(other).radio.position_m = (19.0, 0.0)
    air.medium.settings = MediumSettings(path_loss_exponent=3.5, sensitivity_dbm=-100.0, transmit_dbm=0.0)
    air.coordinator.permit(600)
    other.permit(600)
    device.join()
    air.run_until(lambda: device.joined, 120)
    assert [ieee for ieee, _ in log.refusals] == [DEVICE_IEEE]  # the nearer one knows no key for it
    assert device.persistent_state.extended_pan_id == air.coordinator.network.extended_pan_id
    assert device_log.failures == ["no network key came"]


def test_a_factory_new_device_may_begin_with_the_very_message_that_it_sent_last():
    air = Air()
    before, _ = air.join()
    air.send(to_hub(b"hello", counter=1), before)
    before.power_off()
    air.keys.keys[DEVICE_IEEE] = LinkKey(LINK_KEY)
    device, _ = air.add_device()
    air.coordinator.permit(60)
    device.join()
    air.run_until(lambda: device.joined)
    air.log.messages.clear()
    air.send(to_hub(b"hello", counter=1), device)
    assert [message.payload for message in air.log.data()] == [b"hello"]


def test_a_policy_against_unsecured_rejoins_does_not_touch_secured_ones():
    air, device, _ = on_air()
    air.coordinator.trust_centre.unsecured_rejoin_allowed = False
    device.power_off()
    device.power_on()
    air.run(1.0)
    assert device.joined
    assert air.log.joins[-1][2] is JoinKind.REJOINED_SECURED


def test_what_waits_for_a_child_that_leaves_ends_at_once():
    air, device, _ = on_air(poll_interval_s=60.0)
    air.run(10.0)
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.coordinator.parent.drop(air.coordinator.network.children[DEVICE_IEEE])
    assert confirms == [ApsStatus.UNKNOWN_DESTINATION]


def test_a_network_that_is_formed_anew_counts_every_neighbour_from_the_start():
    air, device, _ = on_air()
    for _ in range(5):
        air.send(to_hub(b"so far"), device)
    air.coordinator.form(NetworkState(CHANNEL, 0x1A62, 0x00124B00000000AA, bytes(16)))
    assert Air.nwk(air.coordinator).incoming == {}


def test_a_device_that_joins_anew_takes_the_counters_of_a_hub_that_starts_anew():
    air, device, log = on_air()
    for _ in range(3):
        air.send(to_device(device, b"so far"))
    air.keys.keys[DEVICE_IEEE] = LinkKey(LINK_KEY)
    Air.aps(air.coordinator).next_frame_counter = 0
    air.coordinator.stop()
    air.coordinator.form(NetworkState(CHANNEL, 0x1A62, 0x00124B00000000AA, bytes(range(16))))
    air.coordinator.permit(60)
    device.join()
    air.run_until(lambda: device.joined)
    assert air.send(to_device(device, b"anew")) == [ApsStatus.SUCCESS]
    assert log.messages[-1].payload == b"anew"
    assert (device.counters.aps_replays, device.counters.nwk_replays) == (0, 0)


def test_a_new_network_key_starts_the_counters_of_the_parent_anew():
    air, device, _ = on_air()
    air.run(1.0)
    air.coordinator.stop()
    network = air.coordinator.network
    network.network_key, network.network_frame_counter = bytes(range(16)), 0
    device.power_off()
    assert air.coordinator.resume()
    device.power_on()  # secured in vain, then in the clear: the new key comes
    air.run_until(lambda: device.joined)
    assert device.persistent_state.network_key == bytes(range(16))
    assert air.send(to_device(device, b"x")) == [ApsStatus.SUCCESS]
    assert device.counters.nwk_replays == 0


@pytest.mark.parametrize("poll_interval_s", [None, 30.0])
def test_a_hundred_devices_that_start_in_the_same_instant_do_not_stay_in_step(poll_interval_s):
    """In lockstep, each failure repeated at the same time by all that had failed, it took 130 to 300 s."""
    air = Air(MediumSettings(airtime=True), seed=5)
    air.coordinator.permit(100.0)
    devices = [air.add_device(Eui64(DEVICE_IEEE + n), poll_interval_s=poll_interval_s)[0] for n in range(100)]
    for device in devices:
        device.join()
    air.run_until(lambda: all(device.joined for device in devices), 50.0)
