"""What each part keeps over a power cut: written as JSON, read back into a new one, and used from there."""

import json
import struct
from random import Random

import pytest

from devices.nodes.firmware import factory_image
from devices.nodes.flash import Flash, FlashMisuseError, PowerLostError
from devices.nodes.image_bank import Download, ImageBanks
from devices.nodes.journal import Journal, Key
from devices.nodes.outbox import Outbox
from devices.stack.end_device import EndDevice
from devices.stack.interface import Eui64, JoinKind, LinkKey
from devices.stack.persisted import APS_COUNTER_STEP, counter_ahead, network_from_json, network_to_json
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import MacFrame
from devices.wire.nwk import NwkFrame
from devices.wire.ota import ImageId
from tests.support.air import DEVICE_IEEE, Air, to_device, to_hub
from tests.support.ezsp_device import DEVICE, KEY
from tests.support.ezsp_device import Device as EzspDevice
from tests.support.ezsp_device import joined as joined_ezsp
from tests.support.ezsp_host import EzspHost
from tests.support.heard_device import HeardDevice
from tests.support.model_hub import image, settings
from tests.support.znp_air import Device as ZnpDevice
from tests.support.znp_air import joined as joined_znp
from tests.support.znp_host import ZnpHost


def through_a_file(kept):
    return json.loads(json.dumps(kept))


def followed(device: HeardDevice, host, again: HeardDevice) -> HeardDevice:
    """A device with what that one kept, which has come back to another host."""
    again.stack.restore(through_a_file(device.stack.retained()))
    again.stack.power_on()
    host.run(8.0)
    assert again.stack.joined
    assert again.stack.address == device.stack.address
    return again


def nwk_counters(air: Air) -> list[tuple[int, int]]:
    """Sender and frame counter of every secured NWK frame; a repetition by the MAC counts once."""
    found: dict[bytes, tuple[int, int]] = {}
    for _, _, _, octets in air.frames:
        try:
            payload = MacFrame.from_bytes(octets).payload
            frame = NwkFrame.from_bytes(payload)
        except MalformedFrameError:
            continue
        if frame.security is not None:
            found[payload] = (frame.security.source, frame.security.frame_counter)
    return list(found.values())


def next_life(before: Air, device: EndDevice, log) -> tuple[Air, EndDevice]:
    """Another world with what the coordinator and the device of this one kept."""
    kept = through_a_file(device.retained())
    air = Air(seed=2)
    again, _ = air.add_device()
    again.listener = log
    air.keys.keys[DEVICE_IEEE] = LinkKey(before.keys.keys[DEVICE_IEEE].key)
    air.coordinator.stop()
    air.coordinator.network = network_from_json(through_a_file(network_to_json(before.coordinator.network)))
    air.coordinator.use_aps_counters_from(before.coordinator.aps_counter_ahead)
    again.restore(kept)
    assert again.retained() == kept
    assert air.coordinator.resume()
    air.frames.clear()
    return air, again


def test_coordinator_and_device_find_each_other_again_and_use_no_counter_twice():
    air = Air()
    device, log = air.join()
    for number in range(40):
        air.coordinator.send(to_device(device, bytes([number])))
        air.send(to_hub(bytes([number])), device)
    used = nwk_counters(air)
    assert len(used) > 80
    sent_under = {"hub": air.keys.keys[DEVICE_IEEE].outgoing_counter}
    address, sent_under["device"] = device.address, device.persistent_state.link_key.outgoing_counter
    log.messages.clear()

    air, again = next_life(air, device, log)
    again.power_on()
    air.run_until(lambda: again.joined)
    assert again.address == address
    assert air.log.joins == [(DEVICE_IEEE, address, JoinKind.REJOINED_SECURED)]
    air.coordinator.send(to_device(again, b"down"))
    again.send(to_hub(b"up"))
    air.run(1.0)
    assert [message.payload for message in log.messages] == [b"down"]
    assert [message.payload for message in air.log.data()] == [b"up"]
    assert set(used).isdisjoint(nwk_counters(air))
    assert {sender for sender, _ in nwk_counters(air)} == {sender for sender, _ in used}
    assert air.keys.keys[DEVICE_IEEE].outgoing_counter > sent_under["hub"]
    assert again.persistent_state.link_key.outgoing_counter > sent_under["device"]
    assert air.keys.keys[DEVICE_IEEE].incoming_counter >= sent_under["device"]


def test_an_established_key_is_kept_and_the_one_before_it_starts_beyond_its_old_counters():
    air = Air()
    device, log = air.join()
    air.send(to_hub(b"under the install code's key"), device, seconds=1.0)
    used = device.persistent_state.link_key.outgoing_counter
    device.establish_link_key(bytes(range(16)))
    _, again = next_life(air, device, log)
    assert again.key_established
    assert again.persistent_state.link_key.key == bytes(range(16))
    again.join()  # it is sent away, and starts anew with its install code
    assert not again.key_established
    assert again.aps_counter_ahead >= used


def test_a_device_that_never_joined_keeps_that():
    device, _ = Air().add_device()
    kept = through_a_file(device.retained())
    again, _ = Air().add_device()
    again.restore(kept)
    assert again.retained() == kept
    assert again.persistent_state.network_key is None


@pytest.mark.parametrize("value", [0, 1, APS_COUNTER_STEP - 1, APS_COUNTER_STEP, APS_COUNTER_STEP + 1])
def test_a_counter_is_kept_ahead_and_once_kept_it_stays(value):
    ahead = counter_ahead(value)
    assert value <= ahead < value + APS_COUNTER_STEP
    assert ahead % APS_COUNTER_STEP == 0
    assert counter_ahead(ahead) == ahead


def test_an_ezsp_dongle_keeps_its_network_its_keys_and_its_counters():
    host = EzspHost()
    host.form()
    device = joined_ezsp(host)
    host.call(0x0099, struct.pack("<b", 3))  # setRadioPower
    kept = through_a_file(host.dongle.retained())
    again = EzspHost(seed=5)
    again.dongle.restore(kept)
    assert again.dongle.retained() == kept
    again.negotiate()
    again.call(0x0053, struct.pack("<BH", 0x1E, 8))
    again.call(0x0055, bytes([0, 1]))
    assert again.call(0x0017, b"\x00\x00") == b"\x00"
    again.run()
    # getNetworkParameters, getChildData, exportLinkKeyByIndex, getCurrentSecurityState
    for command, parameters in ((0x0028, b""), (0x004A, b"\x00"), (0x010F, b"\x00"), (0x0069, b"")):
        assert again.call(command, parameters) == host.call(command, parameters)
    followed(device, again, EzspDevice(again))


def test_an_ezsp_dongle_keeps_no_transient_key_and_after_a_factory_reset_nothing():
    host = EzspHost()
    host.form()
    joined_ezsp(host)
    host.call(0x0111, struct.pack("<Q16sB", DEVICE + 1, KEY, 0))
    again = EzspHost()
    again.dongle.restore(host.dongle.retained())
    assert again.dongle.keys.for_data(Eui64(DEVICE + 1)) is None
    host.call(0x0077, b"\x00\x00")  # tokenFactoryReset: the network runs on in RAM
    assert sorted(host.dongle.retained()) == ["counters", "tokens"]


def test_a_z_stack_dongle_keeps_every_item_and_goes_on_from_them():
    host = ZnpHost()
    host.form()
    device = joined_znp(host)
    device.send(b"up")
    host.run(1.0)
    host.put(0x0300, b"a note of the host")
    kept = through_a_file(host.dongle.retained())
    again = ZnpHost(seed=5)
    again.dongle.restore(kept)
    assert again.dongle.retained() == kept
    assert again.get(0x0300) == b"a note of the host"
    again.start()
    again.register(3)
    before, after = host.dongle.stack.network, again.dongle.stack.network
    first, second = ((network.pan_id, network.extended_pan_id, network.network_key) for network in (before, after))
    assert first == second
    assert after.network_frame_counter >= before.network_frame_counter
    follower = followed(device, again, ZnpDevice(again))
    follower.send(b"up again")
    again.run(1.0)
    assert again.dongle.keys.for_data(DEVICE).outgoing_counter >= host.dongle.keys.for_data(DEVICE).outgoing_counter
    assert again.dongle.keys.for_data(DEVICE).incoming_counter > host.dongle.keys.for_data(DEVICE).incoming_counter


def test_a_z_stack_dongle_sees_each_change_of_what_it_keeps():
    """It does not look at every item each time: what it looks at must not miss one."""
    host = ZnpHost()
    host.form()
    seen = [host.dongle.retained()]

    def changed() -> bool:
        seen.append(host.dongle.retained())
        assert seen[-1] == fresh(host)
        return seen[-1] is not seen[-2]

    assert not changed()
    device = joined_znp(host)
    assert changed()
    device.send(b"up")
    host.run(1.0)
    assert changed()
    host.put(0x0300, b"item")
    assert changed()
    host.call(0x2112, struct.pack("<HH", 0x0300, 4))
    assert changed()
    device.stack.power_off()
    assert not changed()


def fresh(host: ZnpHost):
    items = host.dongle.nvram.retained().items()
    octets = {"item " + " ".join(str(int(part)) for part in key): {"octets": value.hex()} for key, value in items}
    return {"counters": {"aps_counter": host.dongle.stack.aps_counter_ahead}, **octets}


def test_the_flash_of_a_device_is_kept_sector_by_sector():
    flash = Flash(sectors=32, sector_bytes=512)
    sectors: dict[int, bytes | None] = {}
    banks = ImageBanks(flash, journal := Journal(flash))
    banks.install_factory_image(factory_image(settings()))
    banks.boot()
    new = image(body_bytes=3000)
    banks.begin(Download(ImageId(1, 2, 3), len(new)))
    sectors |= flash.take_changes()
    for at in range(0, 1500, 50):
        banks.append(new[at : at + 50])
        changed = flash.take_changes()
        assert len(changed) <= 3  # the sector that is written, the one after it, the journal's
        sectors |= changed
    outbox = Outbox(journal, 7)
    outbox.add(b"an alert", also={Key.SCHEDULE: b"a future-dated activation"})
    counter = outbox.take_counter(0.0)
    sectors |= flash.take_changes()
    assert flash.take_changes() == {}

    again = Flash(sectors=32, sector_bytes=512)
    again.restore({sector: octets for sector, octets in sectors.items() if octets is not None})
    assert again.take_changes() == {}
    assert again.read(0, 32 * 512) == flash.read(0, 32 * 512)
    reborn = ImageBanks(again, held := Journal(again))
    reborn.boot()
    assert (reborn.download, reborn.offset) == (banks.download, 1050)  # behind the first block that crossed a sector
    assert {key: held.get(key) for key in Key} == {key: journal.get(key) for key in Key}
    outbox = Outbox(held, 7)
    assert outbox.waiting() == b"an alert"
    assert outbox.take_counter(0.0) == counter + 1


@pytest.mark.parametrize("sectors", [{-1: bytes(512)}, {32: bytes(512)}, {0: bytes(511)}])
def test_flash_of_another_size_is_refused(sectors):
    with pytest.raises(ValueError, match="is not of this flash"):
        Flash(sectors=32, sector_bytes=512).restore(sectors)


def test_what_was_written_to_flash_is_what_was_told():
    """Any erasing and programming, cut short as well: the changes make up the whole."""
    random = Random(11)
    flash, sectors = Flash(sectors=4, sector_bytes=16), {}
    for _ in range(400):
        sector = random.randrange(4)
        if random.random() < 0.1:
            flash.cut_power_at(flash.operations + 1, done=random.random())
        try:
            if random.random() < 0.3:
                flash.erase(sector)
            else:
                flash.program(sector * 16 + random.randrange(16), bytes([random.randrange(255)]))
        except PowerLostError:
            flash.restore_power()
        except FlashMisuseError:
            pass  # programmed already
        sectors |= flash.take_changes()
        again = Flash(sectors=4, sector_bytes=16)
        again.restore({number: octets for number, octets in sectors.items() if octets is not None})
        assert again.read(0, 64) == flash.read(0, 64)
