"""A device that asks the trust centre for a link key of its own, as those since r21 do, and what the two kinds of chip do."""

from dataclasses import replace

import pytest

from devices.stack.interface import ApsStatus, LinkKey
from devices.stack.link_key_exchange import ANSWER_S, ASK_AFTER_S, ASKS, proof_of
from devices.wire.aps import ApsCommandFrame, ApsSecurity, seal
from devices.wire.aps_commands import RequestLinkKey, VerifyKey
from tests.support.air import DEVICE_IEEE, LINK_KEY, Air, Deaf, to_device, to_hub
from tests.support.ezsp_device import DEVICE, KEY, let_in, transient
from tests.support.ezsp_host import EzspHost
from tests.support.znp_air import add_install_code, switched_on
from tests.support.znp_host import SMALL, ZnpHost

OWN_KEY = bytes(range(0x50, 0x60))
ON_AIR_S = 0.02  # a frame with its backoff


def asking(**options):
    air = Air()
    device, log = air.add_device(insists_on_link_key=True, **options)
    air.coordinator.permit(60)
    return air, device, log


@pytest.mark.parametrize("poll_interval_s", [None, 2.0])
@pytest.mark.parametrize("key", [OWN_KEY, LINK_KEY], ids=["a new one", "the one that it has"])
def test_it_gets_its_key_and_both_sides_use_it(key, poll_interval_s):
    air, device, log = asking(poll_interval_s=poll_interval_s)
    current = air.keys.keys[DEVICE_IEEE]
    air.keys.offered[DEVICE_IEEE] = current if key == LINK_KEY else LinkKey(key)
    device.join()
    air.run(ASKS * ANSWER_S + 10.0)
    assert device.joined
    assert log.lefts == 0
    assert device.persistent_state.link_key.key == air.keys.keys[DEVICE_IEEE].key == key
    assert air.send(to_device(device, b"down"), seconds=5.0) == [ApsStatus.SUCCESS]
    assert air.send(to_hub(b"up"), device, seconds=2.0) == [ApsStatus.SUCCESS]
    assert air.coordinator.counters.aps_security_failures == device.counters.aps_security_failures == 0


def test_it_asks_as_soon_as_real_ones_do_and_leaves_without_an_answer():
    air, device, log = asking()
    device.join()
    air.run_until(lambda: device.joined)
    joined_at, frames = air.queue.now, len(air.frames)
    air.run(ASK_AFTER_S + 0.01)
    asked_at = [at for at, _, _, frame in air.frames[frames:] if at > joined_at + ASK_AFTER_S / 2]
    assert asked_at[0] == pytest.approx(joined_at + ASK_AFTER_S, abs=0.01)  # and the time that it waits for free air
    air.run(ASKS * ANSWER_S - 1.0)
    assert device.joined
    air.run(1.0)
    assert (device.joined, log.lefts, air.log.leaves) == (False, 1, [DEVICE_IEEE])


def test_one_that_does_not_insist_asks_for_nothing():
    air = Air()
    air.keys.offered[DEVICE_IEEE] = LinkKey(OWN_KEY)
    device, _ = air.join()
    air.run(30.0)
    assert device.persistent_state.link_key.key == LINK_KEY


def test_only_who_proves_the_new_key_gets_it():
    air, device, _ = asking()
    air.keys.offered[DEVICE_IEEE] = LinkKey(OWN_KEY)
    device.join()
    air.run_until(lambda: device.joined)

    def key_after(proof: bytes) -> bytes:
        air.inject(device, 0, ApsCommandFrame(1, VerifyKey(DEVICE_IEEE, proof).to_bytes()).to_bytes())
        air.run(ON_AIR_S)
        return air.keys.keys[DEVICE_IEEE].key

    assert key_after(proof_of(OWN_KEY)) == LINK_KEY  # nothing was offered yet
    deaf = Deaf(device)
    air.run(ASK_AFTER_S)  # now it was, and the device did not hear it
    deaf.hears_again()
    assert key_after(proof_of(LINK_KEY)) == LINK_KEY
    assert device.persistent_state.link_key.key == LINK_KEY
    assert key_after(proof_of(OWN_KEY)) == OWN_KEY


def test_a_request_that_is_repeated_or_not_under_the_link_key_brings_no_key():
    air = Air()
    device, _ = air.join()
    air.send(to_hub(b"a counter"), device)
    requests = ApsCommandFrame(1, RequestLinkKey().to_bytes()), ApsCommandFrame(1, b"\x06")
    air.keys.offered[DEVICE_IEEE] = LinkKey(OWN_KEY)
    for request in requests:
        before = air.coordinator.counters.unexpected
        air.inject(device, 0, request.to_bytes())
        air.run(ON_AIR_S)
        assert air.coordinator.counters.unexpected == before + 1
    key = air.keys.keys[DEVICE_IEEE]
    old = ApsSecurity(key.incoming_counter, DEVICE_IEEE)
    air.inject(device, 0, seal(requests[0]._replace(security=old), key.cipher, DEVICE_IEEE))
    air.run(ON_AIR_S)
    assert air.coordinator.counters.aps_replays == 1
    assert device.persistent_state.link_key.key == LINK_KEY


DENY, SEND_CURRENT, GENERATE = 0x50, 0x51, 0x52  # UG100 3.3, EzspDecisionId of TC_KEY_REQUEST_POLICY


@pytest.mark.parametrize("decision", [DENY, SEND_CURRENT, GENERATE])
@pytest.mark.parametrize("room", [0, 4])
def test_an_ezsp_stick_does_what_its_host_decided(decision, room):
    host = EzspHost()
    host.form(key_table_size=room, policy=0x01)
    host.call(0x0055, bytes([5, decision]))
    host.call(0x0111, transient(DEVICE, KEY))
    device = let_in(host, insists_on_link_key=True)
    host.run(ASKS * ANSWER_S + 1.0)
    assert device.stack.joined is (decision != DENY)
    if decision == DENY:
        return
    assert host.dongle.keys.in_use()[DEVICE] == device.stack.persistent_state.link_key.key
    assert (device.stack.persistent_state.link_key.key == KEY) is (decision == SEND_CURRENT)
    assert (host.dongle.keys.find(DEVICE) == 0) is (decision == GENERATE and room > 0)


def test_a_z_stack_stick_makes_a_key_of_its_seed_and_keeps_who_has_it():
    host = ZnpHost(replace(SMALL, requires_key_exchange=True))
    host.form()
    add_install_code(host)
    device = switched_on(host, insists_on_link_key=True)
    before = dict(host.dongle.keys.in_use())
    host.run(30.0)
    own = device.stack.persistent_state.link_key.key
    assert device.stack.joined  # after 15 s the stick removes who asked for no key
    assert host.dongle.keys.in_use() == before == {DEVICE: own}
    assert host.entry(4, 0)[16] == 0x02  # KeyAttributes: verified
    host.reset()
    assert host.dongle.keys.in_use() == {DEVICE: own}  # flash has the seed, and by how much it is rotated


def test_a_device_that_joins_anew_begins_with_the_key_of_its_install_code():
    air, device, _ = asking()
    air.keys.offered[DEVICE_IEEE] = LinkKey(OWN_KEY)
    device.join()
    air.run(5.0)
    assert device.persistent_state.link_key.key == OWN_KEY
    device.power_on()
    air.run(5.0)
    assert device.persistent_state.link_key.key == OWN_KEY
    device.join()
    assert device.persistent_state.link_key.key == LINK_KEY
