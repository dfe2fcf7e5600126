"""Sleepy children and their parent: how one that was forgotten finds back, who may say how long it sleeps, who is full."""

from random import Random

import pytest

from devices.stack.interface import Eui64
from devices.wire import nwk
from tests.support.air import DEVICE_IEEE, Air, Deaf, on_air

POLL_S = 30.0


def forgotten(air: Air, device) -> bool:
    return air.coordinator.parent.child(device.ieee) is None


def test_no_sleeper_that_was_removed_goes_on_believing_that_it_is_joined():
    """A removal waits 7.68 s for a poll, so three of four that poll every 30 s miss it."""
    air, random = Air(seed=7), Random(7)
    devices = [air.join(Eui64(DEVICE_IEEE + place), poll_interval_s=POLL_S)[0] for place in range(30)]
    air.run(POLL_S)
    for device in devices:
        air.run(random.uniform(0.0, POLL_S))
        air.coordinator.remove(device.ieee)
    air.run(POLL_S + 20.0)
    assert air.coordinator.counters.indirect_expired >= 15
    assert [device.ieee for device in devices if device.joined and forgotten(air, device)] == []
    assert any(device.joined for device in devices)  # told to rejoin, not to go: the host may remove it again
    assert not all(device.joined for device in devices)  # who polled in time is gone


def test_a_leave_that_a_sleeper_missed_waits_for_its_next_poll():
    air, device, log = on_air(poll_interval_s=POLL_S)
    air.run(60.0)
    air.coordinator.parent.drop(air.coordinator.parent.child(device.ieee))
    deaf = Deaf(device)
    device.poll()
    air.run(0.2)
    deaf.hears_again()
    device.poll()
    air.run(2.0)
    assert log.joins == [False, True]
    assert not forgotten(air, device)


def test_a_child_that_was_silent_for_too_long_is_told_to_the_host_and_finds_back():
    air, device, log = on_air(poll_interval_s=POLL_S)
    air.inject(device, 0, nwk.EndDeviceTimeoutRequest(0).to_bytes(), command=True)
    device.set_poll_interval(300.0)
    air.run(200.0)
    assert air.log.gone == [device.ieee]
    assert air.log.leaves == []
    assert device.joined
    air.run(200.0)
    assert log.joins == [False, True]
    assert not forgotten(air, device)


@pytest.mark.parametrize("by_itself", [True, False])
def test_how_long_a_child_may_be_silent_is_said_by_itself_alone(by_itself: bool):
    air, device, _ = on_air()
    other, _ = air.join(Eui64(DEVICE_IEEE + 1))
    child = air.coordinator.parent.child(device.ieee)
    before = child.timeout_s
    sender = device if by_itself else other
    other.address = device.address
    air.inject(sender, 0, nwk.EndDeviceTimeoutRequest(3).to_bytes(), command=True)
    air.run(0.1)
    assert child.timeout_s == (8 * 60.0 if by_itself else before)


def test_a_full_coordinator_says_so_in_its_beacon_and_nobody_asks_it_in_vain():
    air, device, _ = on_air()
    air.coordinator.parent.maximum_children = 1
    late, log = air.add_device(Eui64(DEVICE_IEEE + 1))
    air.coordinator.permit(60)
    late.join()
    air.run(10.0)
    assert set(log.failures) == {"no network that lets devices join"}
    device.rejoin()
    air.run(2.0)
    assert device.joined


@pytest.mark.parametrize("secured", [True, False])
def test_a_full_coordinator_takes_no_device_back_that_it_has_forgotten(secured: bool):
    air, device, log = on_air()
    air.coordinator.parent.drop(air.coordinator.parent.child(device.ieee))
    air.coordinator.parent.maximum_children = 0
    if not secured:
        device.persistent_state.network_key = bytes(16)
    device.power_on()
    air.run(10.0)
    assert not device.joined
    assert "the rejoin was refused with status 1" in log.failures
