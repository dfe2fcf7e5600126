"""The device log as the hub has it in memory: what was learned of a device, until it is written."""

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.hub.devices import KnownDevices
from chf.store import DeviceEntry, DeviceType, Store
from tests.support.updates import runs

DEVICE = Eui64(0xA4)
T0 = 1_800_000_000.0


def at(seconds: float) -> Now:
    return Now(Instant(seconds), UtcSeconds(T0 + seconds))


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        add(opened)
        yield opened


def add(store: Store) -> None:
    with store.transaction() as tx:
        tx.devices.add(DeviceEntry(DEVICE, DeviceType.PPMID, UtcSeconds(T0)))


def written(store: Store, known: KnownDevices) -> DeviceEntry:
    for batch in known.unwritten(at(99)):
        with store.transaction() as tx:
            for write in batch.writes:
                write(tx)
        for step in batch.afterwards:
            step()
    assert list(known.unwritten(at(99))) == [], "nothing is written twice"
    return store.devices.get(DEVICE)


def test_what_is_learned_of_a_device_comes_on_top_of_its_row(store):
    known = KnownDevices(store)
    known.hear(DEVICE, at(1))
    known.ota_client_at(DEVICE, 3)
    assert [known.refuse(DEVICE, at(2)), known.refuse(DEVICE, at(3))] == [1, 2]
    entry = written(store, known)
    assert (entry.last_seen, entry.endpoint, entry.refused_frames) == (T0 + 3, 3, 2)
    assert known.refuse(DEVICE, at(4)) == 1, "counted from the last write on"
    entry = written(store, known)
    assert (entry.last_seen, entry.endpoint, entry.refused_frames) == (T0 + 4, 3, 3)
    assert known.get(DEVICE) == entry


def test_what_it_told_of_its_images_stands_beside_what_was_heard_and_goes_with_the_device(store):
    known = KnownDevices(store)
    known.hear(DEVICE, at(1))
    (image,) = runs(1)
    (other,) = runs(7, number=9)
    with store.transaction() as tx:
        known.save_image(tx, DEVICE, image)
        known.save_image(tx, DEVICE, other)
        known.save_image(tx, Eui64(0xA5), other)
    known.saved(DEVICE)
    assert (known.get(DEVICE).images, known.get(DEVICE).last_seen) == ((image, other), T0 + 1)
    with store.transaction() as tx:
        tx.devices.remove(DEVICE)
        tx.devices.add(DeviceEntry(DEVICE, DeviceType.PPMID, UtcSeconds(T0)))
        tx.devices.add(DeviceEntry(Eui64(0xA5), DeviceType.PPMID, UtcSeconds(T0)))
    assert [entry.images for entry in store.devices.list()] == [(), ()], "who is not in the log has none"


def test_a_device_that_was_forgotten_and_added_again_begins_with_nothing(store):
    known = KnownDevices(store)
    known.ota_client_at(DEVICE, 3)
    known.refuse(DEVICE, at(1))
    with store.transaction() as tx:
        tx.devices.remove(DEVICE)
    known.reload()
    add(store)
    known.reload()
    entry = written(store, known)
    assert (entry.last_seen, entry.endpoint, entry.refused_frames) == (None, None, 0)


@pytest.mark.parametrize(
    ("seconds", "address", "is_heard", "is_new"),
    [(0.9, 1, False, False), (1.0, 1, False, True), (0.9, 2, False, True), (0.9, 1, True, True)],
    ids=["told twice", "a second later", "another address", "it has spoken since"],
)
def test_an_arrival_that_is_told_twice_is_one(store, seconds, address, is_heard, is_new):
    known = KnownDevices(store)
    assert known.note_arrival(DEVICE, 1, at(0))
    if is_heard:
        known.hear(DEVICE, at(0.5))
    assert known.note_arrival(DEVICE, address, at(seconds)) is is_new
