"""`chf demo`: a device's firmware update from service request to alerts, on a virtual dongle in a process of its own.

Everything that runs here is what runs on a bench: the same hub, the same intake, the same store. Only the dongle and
the device are emulated, behind a TCP port.
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from chf.cli.demo_methods import METHODS, PERSONALITIES, Method, Supplier
from chf.cli.dongle import KINDS, Dongle
from chf.cli.image_options import kind_option, limit_option, load_image
from chf.cli.options import json_option, print_json, talk
from chf.clock import Clock, SystemClock
from chf.crypto.install_code import link_key, with_crc
from chf.dcc.desk import Desk
from chf.dcc.intake import IntakePolicy
from chf.duis import UpdateFirmwareRequest
from chf.duis.identifiers import RequestId
from chf.errors import ChfError, RadioGoneError, RefusedError, TimedOutError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import Hub, HubSettings
from chf.hub.settings import SecurityMode, SecuritySettings
from chf.image.image import FirmwareImage, ImageKind
from chf.pki.gbcs import DEFAULT_ACB, DEFAULT_SUPPLIER, Pki, seeded_keys
from chf.pki.zigbee import ZigbeePki, seeded_numbers
from chf.store import Store, progress
from chf.store.alerts import Alert
from chf.store.device_log import DeviceEntry, DeviceStatus
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from chf.update.model import Update, UpdateId, UpdateState
from chf.view.bars import TransferBars
from chf.view.records import alert_record

HUB = parse_eui64("00-DB-12-34-56-78-90-A2")

_SETTINGS = HubSettings(security=SecuritySettings(SecurityMode.CBKE))
_POLL_S = 0.05  # our choice
_LIMIT_S = 300.0  # of one step of the demo, on a slow machine (our choice)
_START_S = 15.0
_MAX_SEED = 0xFFFFFFFF  # of a scenario, docs/scenario.md


@dataclass(frozen=True, slots=True)
class Options:
    radio: str
    seed: int
    method: Method
    personality: str | None
    image: FirmwareImage
    home: Path
    pcap: Path | None
    keys: Path | None


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--radio", type=click.Choice(KINDS), default="ezsp", show_default=True, help="Kind of virtual dongle.")
@click.option("--method", type=click.Choice(list(METHODS)), default="ppmid", show_default=True, help="Kind of device.")
@click.option(
    "--personality",
    type=click.Choice(PERSONALITIES),
    help="Whose OTA client the device has (docs/personalities.md); without it, one that keeps to the standard.",
)
@click.option(
    "--image",
    "image_file",
    type=_FILE,
    help="An OTA or GBCS PPMID file; with another --method, one signed by the demo's supplier.",
)
@kind_option
@limit_option
@click.option(
    "--seed", type=click.IntRange(0, _MAX_SEED), default=1, show_default=True, help="Random seed, for repeatable runs."
)
@click.option("--pcap", type=_FILE, help="Write all that is on the air, for Wireshark.")
@click.option("--keys", type=_FILE, help="Write its keys (zigbee_pc_keys, mode 0600).")
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Keep store and PKI in this new directory."
)
@json_option
def demo(
    *,
    radio: str,
    method: str,
    personality: str | None,
    image_file: Path | None,
    kind: ImageKind | None,
    limit_bytes: int,
    seed: int,
    pcap: Path | None,
    keys: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Update an emulated device on a virtual dongle: no hardware, a few seconds.

    Starts the virtual dongle with one PPMID, forms the network, lets the PPMID join with its install code and
    establish a link key by certificate, submits a service request SR 11.4, serves the image, activates it, and shows
    the two alerts and the version that then runs.

    With --method hcalcs and the like, the request is SR 11.1 and the image a signed one; the device tells its receipt,
    and activates when the supplier commands it (CS06).
    """
    with ExitStack() as cleanup:
        if home is None:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="chf-demo-")))
        elif home.exists() and any(home.iterdir()):
            raise UsageError(f"{home} is not empty: the demo starts from nothing, so give it a new --home")
        given = None if image_file is None else load_image(image_file, kind=kind, limit_bytes=limit_bytes)
        pki = Pki.create(home / "pki", chf=HUB, keys=seeded_keys(f"chf demo {seed}".encode()))
        image = METHODS[method].image(pki) if given is None else given
        options = Options(radio, seed, _for_whom(METHODS[method], image), personality, image, home, pcap, keys)
        say: Callable[[str], None] = (lambda _text: None) if as_json else talk
        with Store.open(home, hub=True) as store:
            try:
                outcome = asyncio.run(_Demo(options, store, pki, say, quiet=as_json).run())
            except asyncio.CancelledError:
                raise click.Abort from None
    if as_json:
        print_json(outcome)
    else:
        _print(outcome)
    if outcome["result"] != UpdateState.ACTIVATED:
        raise ChfError(f"the update ended as {outcome['result']}: {outcome['reason']}")


def _for_whom(method: Method, image: FirmwareImage) -> Method:
    """The device of the demo; where the image is for one device only, that one."""
    destination = image.header.destination
    if destination in {HUB, 0, 0xFFFF_FFFF_FFFF_FFFF}:
        raise RefusedError(f"the image is for {_name(destination)} only, which no device of the demo can be")
    return method if destination is None else replace(method, device=destination)


def _end_as_by_ctrl_c() -> None:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that the virtual dongle and a temporary home go with it."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup means it
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


class _Demo:
    def __init__(self, options: Options, store: Store, pki: Pki, say: Callable[[str], None], *, quiet: bool) -> None:
        self._options, self._store, self._pki, self._say, self._quiet = options, store, pki, say, quiet
        self._method, self._device = options.method, options.method.device
        self._supplier = Supplier(options.method, store, pki, options.image, say)
        self._clock: Clock = SystemClock()
        self._random = random.Random(options.seed)
        self._install_code = with_crc(self._random.randbytes(16))
        header = options.image.header
        self._version_before = header.file_version - 1 if header.file_version else 1

    async def run(self) -> dict[str, Any]:
        _end_as_by_ctrl_c()
        options = self._options
        pki, keys = self._pki, seeded_keys(f"chf demo {options.seed}".encode())
        pki.issue(self._device, keys)
        zigbee = ZigbeePki(pki.path / "zigbee")
        for subject in (HUB, self._device):  # the hub's by the EUI-64 of its dongle, which is the same here
            zigbee.issue(subject, seeded_numbers(f"chf demo {options.seed}".encode()))
        scenario = self._write_scenario(pki)
        try:
            async with asyncio.timeout(_LIMIT_S), self._virtual_dongle(scenario) as (port, dongle_ends):
                client = "" if options.personality is None else f" with an OTA client as of {options.personality}"
                self._say(f"virtual dongle with one {self._method.name}{client} at {port}")
                return await self._tell(port, dongle_ends)
        except TimeoutError:
            raise TimedOutError(f"the demo did not come to its end in {_LIMIT_S:.0f} s") from None

    async def _tell(self, port: str, dongle_ends: "asyncio.Task[None]") -> dict[str, Any]:
        """Hub and story side by side, until the story ends or something on which it depends."""
        dongle = Dongle(self._options.radio, port, 115_200, None, 15)
        hub = Hub(self._store, dongle.open(), self._pki, self._clock, _SETTINGS, self._narrate)
        running = asyncio.ensure_future(hub.run(form=True))
        story = asyncio.ensure_future(self._story())
        try:
            await asyncio.wait({running, story, dongle_ends}, return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                await (dongle_ends if dongle_ends.done() else running)  # it ended first, so it has something to say
            return await story
        finally:
            running.cancel()
            story.cancel()
            await asyncio.gather(running, story, return_exceptions=True)

    async def _story(self) -> dict[str, Any]:
        self._admit()
        await self._until(self._has_joined, f"the {self._method.name} did not join")
        update_id = self._submit()
        update = await self._follow(update_id)
        if update.state in (UpdateState.ACTIVATED, UpdateState.REVERTED):
            if self._method.commanded:
                self._supplier.read_version(self._device, self._clock.now())
            done = f"what the {self._method.name} has to tell did not come"
            await self._until(lambda: self._supplier.complete(self._alerts(update)), done)
        return self._outcome(update)

    def _admit(self) -> None:
        now = self._clock.now().utc
        entry = DeviceEntry(self._device, self._method.device_type, now, link_key(self._install_code))
        with self._store.transaction() as tx:
            tx.devices.add(entry)
            tx.audit.append(Event(now, Kind.DEVICE_ADDED, self._device, None, {"device_type": entry.device_type.value}))
            tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(self._device), "seconds": 180}, now)

    def _has_joined(self) -> bool:
        entry = self._store.devices.get(self._device)
        return entry is not None and entry.status is DeviceStatus.JOINED and entry.images != ()

    def _submit(self) -> int:
        """The service request, as a supplier sends it and as `chf dcc submit` takes it in."""
        image, now = self._options.image, self._clock.now()
        request = UpdateFirmwareRequest(
            self._method.service,
            RequestId(DEFAULT_SUPPLIER, DEFAULT_ACB, int(now.utc * 1000)),
            image.content,
            f"{image.header.file_version:08X}",
            (self._device,),
        )
        downgrade = image.header.file_version < self._version_before
        desk = Desk(self._store, self._pki, intake=IntakePolicy(image_kind=image.kind))
        answer = desk.take(request.to_bytes(), now, allow_downgrade=downgrade)
        self._say(f"SR {answer.service} {request.request_id}: {answer.code.value}")
        if answer.command is None:
            raise RefusedError(f"the request is refused: {answer.reason}")
        return answer.command

    async def _follow(self, command: int) -> Update:
        row = self._store.inbox.get(command)
        give_up = self._clock.now().instant + 10
        while row is None or row.result is None:
            if self._clock.now().instant > give_up:
                raise TimedOutError("the hub did not take the request")
            await asyncio.sleep(_POLL_S)
            row = self._store.inbox.get(command)
        if not row.result.get("started"):
            raise RefusedError(f"the hub refused the update: {row.result}")
        number = UpdateId(row.result["started"][0]["update"])
        with ExitStack() as stack:
            bars = None if self._quiet else stack.enter_context(TransferBars())
            while True:
                update = self._store.updates.get(number)
                assert update is not None
                self._supplier.look(update, self._clock.now())
                if bars is not None:
                    bars.show(update, progress.read(self._store.meta, number))
                if not update.active:
                    return update
                await asyncio.sleep(_POLL_S)

    async def _until(self, condition: Callable[[], bool], failure: str, limit_s: float = 60.0) -> None:
        give_up = self._clock.now().instant + limit_s
        while not condition():
            if self._clock.now().instant > give_up:
                raise TimedOutError(f"{failure} within {limit_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    def _alerts(self, update: Update) -> tuple[Alert, ...]:
        return self._store.alerts.list(update=int(update.id))

    def _outcome(self, update: Update) -> dict[str, Any]:
        image = self._options.image
        ended = [
            record.event.fields
            for record in self._store.audit.of_update(int(update.id))
            if record.event.kind is Kind.OTA_TRANSFER_ENDED
        ]
        transfer = ended[-1] if ended else {"blocks": 0, "bytes": 0, "seconds": 0.0}
        entry = self._store.devices.get(self._device)
        told = None if entry is None else entry.image(image.header.made_for)
        after = None if told is None else told.file_version
        return {
            "schema": 1,
            "method": self._method.name.lower(),
            "personality": self._options.personality,
            "result": update.state.value,
            "reason": update.reason,
            "image": {
                "sha256": image.sha256,
                "bytes": len(image.content),
                "file_version": f"0x{image.header.file_version:08X}",
            },
            "device": {
                "eui64": format_eui64(self._device),
                "version_before": f"0x{self._version_before:08X}",
                "version_after": None if after is None else f"0x{after:08X}",
            },
            "transfer": {name: transfer[name] for name in ("blocks", "bytes", "seconds")},
            "alerts": [
                {name: alert_record(alert)[name] for name in ("use_case", "alert_code", "outcome", "message")}
                | {"signature_verified": alert.verified}
                for alert in self._alerts(update)
            ],
            "pcap": None if self._options.pcap is None else str(self._options.pcap),
            "keys": None if self._options.keys is None else str(self._options.keys),
        }

    def _narrate(self, event: Event) -> None:
        fields = event.fields
        match event.kind:
            case Kind.RADIO_STATE if fields["state"] == "up":
                self._say("network formed")
            case Kind.DEVICE_JOINED:
                self._say(f"{_name(event.device)} is on the network")
            case Kind.KEY_ESTABLISHED:
                self._say(f"{_name(event.device)} has a link key by certificate (suite {fields['suite']})")
            case Kind.KEY_FAILED:
                self._say(f"{_name(event.device)} has no link key: {fields['reason']}")
            case Kind.TUNNEL_OPENED:
                self._say(f"{_name(event.device)} has a tunnel for GBCS messages")
            case Kind.VERSION_OBSERVED:
                self._say(f"{_name(event.device)} runs version {fields['file_version']}")
            case Kind.OTA_TRANSFER_ENDED:
                self._say(f"transfer ended: {fields['outcome']}, {fields['blocks']} blocks in {fields['seconds']} s")
            case Kind.ALERT_RAISED | Kind.ALERT_RECEIVED:
                self._say(f"alert {fields['use_case']} {fields['alert_code']}: {fields['outcome']}")
            case Kind.MESSAGE_DELIVERED:
                self._say(f"{_name(event.device)} took the message {fields['message_code']}")
            case Kind.RESPONSE_RECEIVED:
                self._say(f"response {fields['use_case']}: {fields['outcome']}")
            case Kind.ALARM:
                self._say(f"alarm: {fields['reason']}")
            case _:
                pass

    def _write_scenario(self, pki: Pki) -> Path:
        header = self._options.image.header
        hardware = header.hardware_versions
        path = self._options.home / "demo-scenario.toml"
        path.touch(mode=0o600)  # the install code is in it
        known = self._method.scenario(pki)
        if self._options.personality is not None:
            known["personality"] = self._options.personality
        own = "".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items())
        path.write_text(
            f"""seed = {self._options.seed}
ideal = true  # a few seconds; on a real line and air it would be most of a minute

[ncp]
eui64 = "{format_eui64(HUB)}"

[[device]]
type = "{self._method.name.lower()}"
eui64 = "{format_eui64(self._device)}"
install_code = "{self._install_code.hex()}"
manufacturer = {header.manufacturer_code}
image_type = {header.image_type}
hardware_version = {0x0101 if hardware is None else hardware.minimum}
file_version = {self._version_before}
power_on_s = 1.5
body_format = "{"sub-elements" if self._options.image.kind is ImageKind.STANDARD else "gbcs"}"
access_control_broker = "{format_eui64(pki.acb)}"
signing_key = {json.dumps(str((pki.path / f"{self._device:016x}-ds.key").absolute()))}
credentials = {json.dumps(f"pki/zigbee/{self._device:016x}-suite2.txt")}
{own}""",
            encoding="utf-8",
        )
        return path

    @asynccontextmanager
    async def _virtual_dongle(self, scenario: Path) -> AsyncIterator[tuple[str, "asyncio.Task[None]"]]:
        """The virtual dongle as a process; yields its port and a task that fails when it ends, and ends it at last.

        It has a session of its own, so that Ctrl-C is for the demo alone, and ends with the pipe that the demo holds.
        """
        command = [sys.executable, "-m", "devices", "serve", str(scenario), "--ncp", self._options.radio, "--tied"]
        for option, path in (("--pcap", self._options.pcap), ("--keys", self._options.keys)):
            if path is not None:
                command += [option, str(path)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdout is not None
        ends = asyncio.ensure_future(_failure_of(process))
        try:
            try:
                async with asyncio.timeout(_START_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                raise TimedOutError(f"the virtual dongle did not start in {_START_S:.0f} s") from None
            if not line:
                await ends
            yield str(json.loads(line)["port"]), ends
        finally:
            if not ends.done():
                process.terminate()
            await asyncio.gather(ends, return_exceptions=True)


async def _failure_of(process: asyncio.subprocess.Process) -> None:
    """Waits for the end of the virtual dongle, and raises what it said last."""
    assert process.stderr is not None
    said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
    await process.wait()
    raise RadioGoneError(
        f"the virtual dongle ended: {said[-1].removeprefix('error: ') if said else process.returncode}"
    )


def _name(device: Eui64 | None) -> str:
    return "-" if device is None else format_eui64(device)


def _print(outcome: dict[str, Any]) -> None:
    for alert in outcome["alerts"]:
        proof = "MAC" if alert["message"].startswith("dd") else "signature"
        verdict = f"{proof} {'verified' if alert['signature_verified'] else 'not verified'}"
        code = "response" if alert["alert_code"] == "0x0000" else alert["alert_code"]
        click.echo(f"{alert['use_case']}  {code}  {alert['outcome']}  {verdict}  {alert['message']}")
    device = outcome["device"]
    click.echo(f"{device['eui64']}  {outcome['result']}  {device['version_before']} -> {device['version_after']}")
