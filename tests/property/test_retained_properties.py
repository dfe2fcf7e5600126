"""What is kept over a power cut says the same once it was read back, whatever it is."""

import json
import struct
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.medium.medium import Medium
from devices.ncp.ezsp.keys import KeyTables
from devices.stack.end_device import DeviceState, EndDevice
from devices.stack.interface import Eui64, LinkKey, Neighbour, NetworkState, NwkAddress
from devices.stack.persisted import link_key_to_json, network_from_json, network_to_json
from devices.time import EventQueue
from tests.support.ezsp_host import EzspHost
from tests.support.znp_host import ZnpHost

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60)
octets_16 = st.binary(min_size=16, max_size=16)
eui64s = st.integers(1, 2**64 - 2).map(Eui64)
addresses = st.integers(0, 0xFFFF).map(NwkAddress)
counters = st.integers(0, 2**32 - 1)
link_keys = st.builds(LinkKey, octets_16, counters, st.integers(-1, 2**32 - 1))
children = st.builds(Neighbour, eui64s, addresses, st.booleans(), st.booleans(), st.floats(0, 1e6))
networks = st.builds(
    NetworkState,
    st.integers(11, 26),
    addresses,
    eui64s,
    octets_16,
    st.integers(0, 255),
    counters,
    addresses,
    st.integers(0, 255),
    st.lists(children, max_size=5).map(lambda found: {child.ieee: child for child in found}),
)
states = st.builds(
    DeviceState,
    link_keys,
    st.integers(0, 26),
    addresses,
    eui64s,
    addresses,
    st.none() | eui64s,
    st.none() | octets_16,
    st.integers(0, 255),
    counters,
    st.booleans(),
)


def through_a_file(kept):
    return json.loads(json.dumps(kept))


@given(networks)
@REPEATABLE
def test_a_network(network: NetworkState) -> None:
    assert network_from_json(through_a_file(network_to_json(network))) == network


def device(state: DeviceState | None = None) -> EndDevice:
    queue = EventQueue()
    device = EndDevice(Eui64(5), bytes(16), Medium(queue, Random(1)), queue, Random(1))
    device.persistent_state = state or device.persistent_state
    return device


@given(states)
@REPEATABLE
def test_a_device(state: DeviceState) -> None:
    kept = through_a_file(device(state).retained())
    again = device()
    again.restore(kept)
    assert again.retained() == kept
    assert again.persistent_state == state


@given(st.dictionaries(st.integers(0, 254), st.tuples(eui64s, link_keys), max_size=6))
@REPEATABLE
def test_a_key_table(table: dict[int, tuple[Eui64, LinkKey]]) -> None:
    host, again = EzspHost(), EzspHost(seed=2)
    host.dongle.keys.restore(
        {index: {"partner": partner, **link_key_to_json(key)} for index, (partner, key) in table.items()}
    )
    again.dongle.restore(through_a_file(host.dongle.retained()))
    again.dongle.keys.size = 255
    forgotten = {index: (partner, replace(key, incoming_counter=-1)) for index, (partner, key) in table.items()}
    assert {index: again.dongle.keys.entry(index) for index in table} == forgotten  # accepted counters are in RAM
    kept = through_a_file(again.dongle.retained())
    host.dongle.restore(kept)
    assert host.dongle.retained() == kept
    assert KeyTables(Eui64(5), EventQueue(), Random(1)).retained() == {}


@given(st.lists(st.tuples(st.integers(0, 0x110), st.binary(min_size=1, max_size=120)), max_size=8), st.integers(0, 255))
@REPEATABLE
def test_items_that_a_host_wrote_count_as_after_a_reset(items: list[tuple[int, bytes]], seed: int) -> None:
    host = ZnpHost(seed=seed)
    host.form()
    random = Random(seed)
    for number, value in items:
        if (held := host.get(number)) is not None:
            host.call(0x2112, struct.pack("<HH", number, len(held)))
        host.put(number, value)
    for table in (1, 3, 4, 5, 6, 7):
        host.set_entry(table, random.randrange(4), random.randbytes(len(host.entry(table, 0))))
    again = ZnpHost(seed=seed + 1)
    again.dongle.restore(through_a_file(host.dongle.retained()))
    host.reset()
    assert again.dongle.retained() == host.dongle.retained()
