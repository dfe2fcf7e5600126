"""Commands to a running bench, as JSON lines on standard input: for tests and scripts that pull plugs.

    {"do": "power_off", "eui64": "00-DB-12-34-56-78-90-A4"}     also power_on and reboot
    {"do": "state", "eui64": "00-DB-12-34-56-78-90-A4"}         what runs, and whether it is on the network
    {"do": "restart_dongle"}                                    as a watchdog does it: the host is told unasked
    {"do": "crash_dongle", "for_s": 2}                          also unplug, nak_storm, exhaust (faults.py)
    {"do": "crash_dongle", "after_frames": 30}                  once the host has sent so many more
    {"do": "line", "drop": 0.1, "corrupt": 0.1}                 the cable from now on, by the names of LineFaults
    {"do": "confirms", "delay_s": 2, "loss": 0.5}               of messages to all devices, or with "eui64" to one
    {"do": "loss", "chance": 0.2}                               the air gets worse, or better again

Each line is answered by one event, `control` or `control_refused` with the reason. Commands of one sender run in order.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devices.bench.faults import FAULTS, ConfirmFaults, FaultyDongle, ScheduledFault, duration_s, read_chances
from devices.bench.toml_section import ScenarioError, Section, parse_eui64
from devices.bench.world import World
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.nodes.device import Device

Answer = Callable[[str, dict[str, object]], None]


class RefusedCommandError(Exception):
    """A line that cannot be carried out; the text says why."""


class Control:
    """`answer(event, fields)` is called once for each line."""

    def __init__(self, world: World, line: FaultyDongle, answer: Answer) -> None:
        self._world = world
        self._line = line
        self._answer = answer
        self._unfinished = b""

    def octets_received(self, octets: bytes) -> None:
        """Lines, cut anywhere."""
        *lines, self._unfinished = (self._unfinished + octets).split(b"\n")
        for line in lines:
            if line.strip():
                self._carry_out(line)

    def _carry_out(self, line: bytes) -> None:
        try:
            command = json.loads(line)
            fields = self._do(command)
        except (ValueError, RecursionError, RefusedCommandError, ScenarioError) as error:
            self._answer("control_refused", {"reason": str(error)})
            return
        self._answer("control", {"do": command["do"], **fields})

    def _do(self, command: Any) -> dict[str, object]:
        if not isinstance(command, dict):
            raise RefusedCommandError('a command is an object such as {"do": "restart_dongle"}')
        section = Section(command, None)
        match command.get("do"):
            case "power_off":
                self._device(command).power_off()
            case "power_on":
                self._device(command).power_on()
            case "reboot":
                self._device(command).reboot()
            case "state":
                return _state(self._device(command))
            case "line":
                self._line.disturb(read_chances(section))
            case "confirms":
                device = None if "eui64" not in command else self._device(command).stack.ieee
                self._world.late_confirms.set(ConfirmFaults.read(section, device))
            case "loss":
                loss = section.number("chance", maximum=1.0)
                self._world.medium.settings = replace(self._world.medium.settings, loss=loss)
            case str(name) if name in FAULTS:
                self._happen(name, section)
            case other:
                known = ", ".join(("power_off, power_on, reboot, state, loss, line, confirms", *FAULTS))
                raise RefusedCommandError(f"do is one of {known}, not {other!r}")
        return {}

    def _device(self, command: dict[str, Any]) -> Device:
        text = command.get("eui64")
        eui64 = parse_eui64(text) if isinstance(text, str) else None
        device = None if eui64 is None else self._world.devices.get(eui64)
        if device is None:
            raise RefusedCommandError(f"eui64 is that of a device of the scenario, not {text!r}")
        return device

    def _happen(self, what: str, section: Section) -> None:
        if FAULTS[what].ezsp_only and not isinstance(self._world.dongle, EzspCoprocessor):
            raise RefusedCommandError(f"only an EZSP dongle can have {what}: Z-Stack's line has no word for it")
        frames = section.optional_integer("after_frames", minimum=1)
        fault = ScheduledFault(what, after_frames=frames, for_s=duration_s(section, what))
        if frames is None:
            self._line.happen(fault)
        else:
            self._line.arm(fault)


def _state(device: Device) -> dict[str, object]:
    return {
        "powered": device.powered,
        "joined": device.stack.joined,
        "address": device.stack.address,
        "file_version": device.file_version() if device.powered else None,
    }
