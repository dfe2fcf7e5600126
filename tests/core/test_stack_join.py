from devices.stack.interface import ApsStatus, Eui64, JoinKind, LinkKey
from tests.support.air import COORDINATOR_IEEE, DEVICE_IEEE, LINK_KEY, Air, Confirms, to_device, to_hub


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
    air = Air()
    device, log = air.join()
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
    air = Air()
    device, log = air.join()
    address = device.address
    device.power_off()
    air.run(10.0)
    device.power_on()
    air.run_until(lambda: device.joined)
    assert log.joins == [False, True]
    assert device.address == address
    assert air.log.joins[-1] == (DEVICE_IEEE, address, JoinKind.REJOINED_SECURED)
    confirms = Confirms()
    device.send(to_hub(b"again"), confirms.append)
    air.run(0.1)
    assert confirms == [ApsStatus.SUCCESS]


def test_two_devices_get_addresses_of_their_own():
    air = Air()
    first, _ = air.join()
    second, _ = air.join(Eui64(DEVICE_IEEE + 1))
    assert first.joined
    assert first.address != second.address


def test_the_key_of_another_device_does_not_open_its_messages():
    air = Air()
    device, log = air.join()
    air.keys.keys[DEVICE_IEEE] = LinkKey(bytes(reversed(LINK_KEY)))
    confirms = Confirms()
    air.coordinator.send(to_device(device, b"x"), confirms.append)
    air.run(10.0)
    assert confirms == [ApsStatus.NO_ACK]
    assert log.messages == []
    assert device.counters.aps_security_failures == 4
