"""Builds what a scenario describes: the medium, the dongle, the devices, all on one queue of simulated time."""

from dataclasses import dataclass
from random import Random

from devices.bench.device_entries import DeviceEntry
from devices.bench.dongles import Dongle, make_dongle
from devices.bench.faults import LateConfirms
from devices.bench.scenario import Scenario
from devices.medium.medium import Medium
from devices.nodes.device import Device
from devices.nodes.events import NodeListener
from devices.nodes.flash import Flash
from devices.nodes.kinds import make_device
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.end_device import EndDevice
from devices.stack.interface import CoordinatorListener, Eui64, LinkKeys
from devices.stack.router import Router
from devices.time import EventQueue


@dataclass(frozen=True, slots=True)
class World:
    """All of the virtual world. Nothing in it reads a clock: whoever owns it drives `queue`."""

    queue: EventQueue
    medium: Medium
    dongle: Dongle
    devices: dict[Eui64, Device]
    late_confirms: LateConfirms


def build_world(scenario: Scenario, listener: NodeListener, now_s: float = 0.0, ncp: str = "ezsp") -> World:
    """`now_s` is where simulated time starts, `ncp` one of devices.bench.dongles.KINDS.

    Devices are switched on by the queue, at their time.
    """
    queue = EventQueue(now_s)
    medium = Medium(queue, _random(scenario, "medium"), scenario.medium)
    late_confirms = LateConfirms(scenario.faults.confirms, _random(scenario, "confirms"), queue)

    def make_stack(above: CoordinatorListener, keys: LinkKeys, ieee: Eui64, host_fragments: bool) -> ZigbeeCoordinator:
        random = _random(scenario, "coordinator")
        return ZigbeeCoordinator(
            ieee, medium, queue, random, link_keys=keys, listener=above, host_fragments=host_fragments
        )

    dongle = make_dongle(ncp, scenario.ncp, make_stack, queue, _random(scenario, "dongle"))
    dongle.report_outcome = late_confirms.tell
    devices = {}
    for entry in scenario.devices:
        device = _device(scenario, entry, queue, medium, listener)
        queue.call_later(entry.power_on_s, device.power_on)
        devices[entry.settings.eui64] = device
    return World(queue, medium, dongle, devices, late_confirms)


def _random(scenario: Scenario, what: object) -> Random:
    """Everybody has their own generator, so that one more device does not change what the others do."""
    return Random(f"{scenario.seed} {what}")


def _device(
    scenario: Scenario, entry: DeviceEntry, queue: EventQueue, medium: Medium, listener: NodeListener
) -> Device:
    settings = entry.settings
    random = _random(scenario, settings.eui64)
    stack = (Router if entry.routes else EndDevice)(
        settings.eui64,
        settings.link_key,
        medium,
        queue,
        random,
        poll_interval_s=settings.poll_interval_s,
        mains_powered=settings.poll_interval_s is None,
        manufacturer=settings.manufacturer_code,
        position_m=entry.position_m,
        radio_delay_s=entry.radio_delay_s,
        insists_on_link_key=settings.insists_on_link_key,
        hears=entry.hears,
    )
    device = make_device(stack, queue, random, settings, flash=Flash(), listener=listener)
    stack.listener = device
    return device
