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

from devices.bench.eui64 import parse_eui64
from devices.bench.faults import LINE_CHANCES, ConfirmFaults, FaultEvent, Happening, LineFaults
from devices.bench.happenings import Happenings
from devices.bench.world import World
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.nodes.device import Device

_HAPPENINGS = {happening.value: happening for happening in Happening}

Answer = Callable[[str, dict[str, object]], None]


class RefusedCommandError(Exception):
    """A line that cannot be carried out; the text says why."""


class Control:
    """`answer(event, fields)` is called once for each line."""

    def __init__(self, world: World, happenings: Happenings, answer: Answer) -> None:
        self._world = world
        self._happenings = happenings
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
        except (ValueError, RecursionError, RefusedCommandError) as error:
            self._answer("control_refused", {"reason": str(error)})
            return
        self._answer("control", {"do": command["do"], **fields})

    def _do(self, command: Any) -> dict[str, object]:
        if not isinstance(command, dict):
            raise RefusedCommandError('a command is an object such as {"do": "restart_dongle"}')
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
                self._happenings.line.disturb(_line_faults(command))
            case "confirms":
                self._set_confirms(command)
            case str(name) if name in _HAPPENINGS:
                self._happen(_HAPPENINGS[name], command)
            case "loss":
                self._set_loss(command.get("chance"))
            case other:
                known = ", ".join(("power_off, power_on, reboot, state, loss, line, confirms", *_HAPPENINGS))
                raise RefusedCommandError(f"do is one of {known}, not {other!r}")
        return {}

    def _device(self, command: dict[str, Any]) -> Device:
        text = command.get("eui64")
        eui64 = parse_eui64(text) if isinstance(text, str) else None
        device = None if eui64 is None else self._world.devices.get(eui64)
        if device is None:
            raise RefusedCommandError(f"eui64 is that of a device of the scenario, not {text!r}")
        return device

    def _happen(self, what: Happening, command: dict[str, Any]) -> None:
        if what is Happening.NAK_STORM and not isinstance(self._world.dongle, EzspCoprocessor):
            raise RefusedCommandError("only an EZSP dongle rejects frames: Z-Stack's line has no such word")
        for_s, frames = _number(command, "for_s", 1.0, 1e6), command.get("after_frames")
        if frames is None:
            self._happenings.happen(what, for_s)
            return
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
            raise RefusedCommandError(f"after_frames is a count of the host's frames from now on, not {frames!r}")
        self._happenings.line.arm(FaultEvent(what, after_frames=frames, for_s=for_s))

    def _set_confirms(self, command: dict[str, Any]) -> None:
        device = None if "eui64" not in command else self._device(command).stack.ieee
        delay_s, loss = _number(command, "delay_s", 0.0, 1e6), _number(command, "loss", 0.0, 1.0)
        self._world.late_confirms.set(ConfirmFaults(device, delay_s, loss))

    def _set_loss(self, chance: object) -> None:
        if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
            raise RefusedCommandError(f"chance lies between 0 and 1, and is not {chance!r}")
        self._world.medium.settings = replace(self._world.medium.settings, loss=float(chance))


def _number(command: dict[str, Any], key: str, default: float, maximum: float) -> float:
    value = command.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise RefusedCommandError(f"{key} lies between 0 and {maximum:g}, and is not {value!r}")
    return float(value)


def _line_faults(command: dict[str, Any]) -> LineFaults:
    return LineFaults(**{key: _number(command, key, 0.0, 1.0) for key in LINE_CHANCES}, to_host=True, to_dongle=True)


def _state(device: Device) -> dict[str, object]:
    return {
        "powered": device.powered,
        "joined": device.stack.joined,
        "address": device.stack.address,
        "file_version": device.file_version() if device.powered else None,
    }
