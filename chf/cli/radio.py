"""`chf radio`: the dongle."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from chf.cli.dongle import Dongle, dongle_options, hub_at, leave_to_hub
from chf.cli.network import replaced
from chf.cli.options import home_option, json_option, print_json, print_table, run_told, talk, write_secret
from chf.clock import SystemClock
from chf.errors import RadioGoneError, RefusedError, UsageError
from chf.radio.interface import RADIO_NOTE, Inbound, Outbound, RadioInfo, RadioState, SecurityReport
from chf.store.lock import hub_pid
from chf.trust import REMEDY

_LARGEST_BACKUP_BYTES = 4 << 20  # a network of thousands of devices is a tenth of that


@click.group()
def radio() -> None:
    """The dongle: who answers on a port, and which network it has."""


@radio.command()
@click.argument("port", required=False)
@dongle_options(port=False, kind_may_be_asked=True)
@click.option("--list-only", is_flag=True, help="Without PORT: ask nobody.")
@click.option(
    "--security",
    is_flag=True,
    help="What it says of keys and certificates, too. Writes one key where none is, and erases it again.",
)
@home_option
@json_option
def probe(*, port: str | None, dongle: Dongle, list_only: bool, security: bool, home: Path, as_json: bool) -> None:
    """Say who answers on PORT, changing nothing; without PORT, on every serial port that is on USB."""
    if security:
        if port is None:
            raise UsageError("--security asks one dongle: give its PORT")
        leave_to_hub(home, port)
        print_security(port, asyncio.run(_probe_security(dongle.on(port))), as_json=as_json)
        return
    if port is None:
        _list_ports(dongle, home, list_only=list_only, as_json=as_json)
        return
    leave_to_hub(home, port)
    print_info(port, asyncio.run(_probe(dongle.on(port))), as_json=as_json)


async def _probe(dongle: Dongle) -> RadioInfo:
    return await (await dongle.recognised()).open().probe()


async def _probe_security(dongle: Dongle) -> SecurityReport:
    return await (await dongle.recognised()).open().probe_security()


def _list_ports(dongle: Dongle, home: Path, *, list_only: bool, as_json: bool) -> None:
    from chf.radio.ports import SerialPort, list_ports  # the serial library is slow to import

    def answer(port: SerialPort) -> str:
        if list_only or port.usb_id is None:
            return "not asked"
        if (pid := hub_at(home, port.path)) is not None:
            return f"a hub has it (process {pid})"
        try:
            info = asyncio.run(_probe(dongle.on(port.path)))
        except RadioGoneError as error:
            return str(error)
        return f"{info.kind} {info.firmware}{'' if info.network is None else ', with a network'}"

    lines = [
        {
            "port": port.path,
            "device": port.device,
            "product": port.product,
            "usb_id": port.usb_id,
            "answer": answer(port),
        }
        for port in list_ports()
    ]
    if as_json:
        print_json({"schema": 1, "ports": lines})
        return
    rows = [tuple(value or "-" for value in line.values()) for line in lines]
    print_table(["PORT", "DEVICE", "PRODUCT", "USB ID", "ANSWER"], rows)
    if not lines:
        talk("there is no serial port: is the dongle plugged in?")


@radio.command()
@click.option("--port", help="Ask this dongle, instead of the running hub.")
@dongle_options(port=False, kind_may_be_asked=True)
@home_option
@json_option
def info(*, port: str | None, dongle: Dongle, home: Path, as_json: bool) -> None:
    """The dongle and network of the running hub, or of the dongle at --port."""
    if port is not None:
        leave_to_hub(home, port)
        print_info(port, asyncio.run(_probe(dongle.on(port))), as_json=as_json)
        return
    from chf.store import Store

    with Store.open(home) as store:
        text, now = store.meta.get(RADIO_NOTE), store.watched(SystemClock()).now()
    pid = hub_pid(home)
    if text is None:
        raise UsageError("no hub has run on this home directory yet: give --port, or start `chf run`")
    known = json.loads(text)
    if as_json:
        print_json({"schema": 1, "hub_running": pid is not None, **known, "clock_distrust": now.distrust})
        return
    known["clock"] = "trusted" if now.trusted else f"not trusted: {now.distrust}; {REMEDY}"
    rows = [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in known.items()]
    print_table(["FIELD", "VALUE"], [("hub", f"runs (process {pid})" if pid is not None else "does not run"), *rows])


@radio.command()
@dongle_options(port=True, kind_may_be_asked=True)
@click.option(
    "--replace", is_flag=True, help="Also over a network that is there: every device that joined is disowned."
)
@home_option
@json_option
def form(*, dongle: Dongle, replace: bool, home: Path, as_json: bool) -> None:
    """Form a new network on a dongle that has none."""
    leave_to_hub(home, dongle.port)

    async def run() -> RadioInfo:
        opened = (await dongle.recognised()).open()
        found = await opened.probe()
        if found.network is not None and not replace:
            raise RefusedError(
                f"there is a network on the dongle already (channel {found.network.channel}, PAN id "
                f"0x{found.network.pan_id:04X}): --replace makes another and disowns its devices"
            )

        async def anew() -> RadioInfo:
            if found.network is not None:
                await opened.leave()
            try:
                return await opened.start(Deaf(), form=True)
            finally:
                await opened.stop()

        return await anew() if found.network is None else await replaced(opened, home, anew)

    print_info(dongle.port, run_told(run(), "forming a network"), as_json=as_json)


@radio.command()
@dongle_options(port=True, kind_may_be_asked=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="A new file, mode 0600.")
@home_option
@json_option
def keys(*, dongle: Dongle, out: Path, home: Path, as_json: bool) -> None:
    """Write the network's keys to a file that Wireshark takes as zigbee_pc_keys. They are secret, and never printed."""
    leave_to_hub(home, dongle.port)

    async def run() -> tuple[tuple[str, str, bytes], ...]:
        opened = (await dongle.recognised()).open()
        await opened.start(Deaf(), form=False)
        try:
            return await opened.export_keys()
        finally:
            await opened.stop()

    exported = run_told(run(), "reading the keys")
    lines = "".join(f'"{key.hex(":")}","Normal","{label}"\n' for label, _kind, key in exported)
    write_secret(out, lines)
    if as_json:
        told = [{"label": label, "kind": kind} for label, kind, _key in exported]
        print_json({"schema": 1, "port": dongle.port, "file": str(out), "keys": told})
        return
    talk(f"{len(exported)} keys written to {out}")


class Deaf:
    """A listener for commands that want nothing from the air."""

    def message_received(self, message: Inbound) -> None: ...
    def message_sent(self, message: Outbound, delivery: Any) -> None: ...
    def device_joined(self, device: Any, network_address: int) -> None: ...
    def device_left(self, device: Any) -> None: ...
    def radio_state_changed(self, state: RadioState, reason: str) -> None: ...


@radio.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@dongle_options(port=True, kind_may_be_asked=True)
@home_option
@json_option
def backup(*, file: Path, dongle: Dongle, home: Path, as_json: bool) -> None:
    """Write the dongle's network with all its keys to a new FILE, mode 0600, in zigpy's backup format."""
    leave_to_hub(home, dongle.port)

    async def run() -> dict[str, Any]:
        return await (await dongle.recognised()).open().backup()

    if file.exists():
        raise UsageError(f"{file} is there already")
    described = run_told(run(), "reading the network")
    write_secret(file, json.dumps(described, indent=2) + "\n")
    count = len(described["devices"])
    if as_json:
        print_json({"schema": 1, "port": dongle.port, "file": str(file), "devices": count})
        return
    devices = "1 device" if count == 1 else f"{count} devices"
    talk(f"saved network and {devices} to {file}. It contains keys: keep it secret.")


@radio.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@dongle_options(port=True, kind_may_be_asked=True)
@click.option("--replace", is_flag=True, help="Also over another network that is on the dongle.")
@home_option
@json_option
def restore(*, file: Path, dongle: Dongle, replace: bool, home: Path, as_json: bool) -> None:
    """Put the network in FILE onto a dongle, which takes its EUI-64, too. The old dongle must not be used any more.

    FILE is a backup of chf, of zigpy, of ZHA, or of Zigbee2MQTT (coordinator_backup.json).
    """
    leave_to_hub(home, dongle.port)
    described = _read(file)

    async def run() -> RadioInfo:
        opened = (await dongle.recognised()).open()
        before = (await opened.probe()).network
        if before is not None and not replace:
            raise RefusedError(
                f"there is a network on the dongle already (channel {before.channel}, PAN id 0x{before.pan_id:04X}):"
                " --replace puts the other in its place"
            )
        await opened.check(described)
        if before is None:
            return await opened.restore(described)
        return await replaced(opened, home, lambda: opened.restore(described))

    print_info(dongle.port, run_told(run(), "restoring the network"), as_json=as_json)
    talk("do not plug the old dongle in again: two with one identity break the network")


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            described = json.loads(stream.read(_LARGEST_BACKUP_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON: {type(error).__name__}") from None
    if not isinstance(described, dict):
        raise UsageError(f"{file} holds no backup of a network")
    return described


def print_info(port: str, info: RadioInfo, *, as_json: bool) -> None:
    described = {"port": port, **info.as_json()}
    if as_json:
        print_json({"schema": 1, **described})
        return
    rows = [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in described.items()]
    print_table(["FIELD", "VALUE"], rows)


def print_security(port: str, report: SecurityReport, *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": 1, "port": port, **report.as_json()})
        return
    print_info(port, report.info, as_json=False)
    print_table(["ASKED", "ANSWER", "FOR"], [(seen.name, seen.value, seen.question) for seen in report.observations])
    rows = [(item.name, item.text, item.standing.value, item.answer) for item in report.questions]
    print_table(["", "QUESTION", "STANDING", "AS FAR AS THE STICK SAYS"], rows)
