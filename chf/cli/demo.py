"""`chf demo`: a PPMID's firmware update from service request to alerts, on a virtual dongle in a process of its own.

Everything that runs here is what runs on a bench: the same hub, the same intake, the same store. Only the dongle and
the device are emulated, behind a TCP port.
"""

import asyncio
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from chf.cli.alert import described as described_alert
from chf.cli.dongle import KINDS, Dongle
from chf.cli.image_file import load_image
from chf.cli.options import json_option, print_json, talk
from chf.clock import Clock, SystemClock
from chf.crypto.install_code import link_key, with_crc
from chf.dcc.pki import DEFAULT_ACB, DEFAULT_SUPPLIER, Pki, seeded_keys
from chf.dcc.reception import receive
from chf.dcc.zigbee_pki import ZigbeePki, seeded_numbers
from chf.duis import ServiceReference, UpdateFirmwareRequest
from chf.duis.identifiers import RequestId
from chf.errors import ChfError, RadioGoneError, RefusedError, TimedOutError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import Hub, HubSettings, progress
from chf.hub.admission import SecurityMode
from chf.hub.settings import SecuritySettings
from chf.image.build import build_image
from chf.image.image import FirmwareImage, parse_image
from chf.image.recipe import parse_recipe
from chf.jobs.model import Job, JobId, JobState
from chf.store import Store
from chf.store.alerts import Alert
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from chf.view.bars import TransferBars

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
HUB = parse_eui64("00-DB-12-34-56-78-90-A2")

IMAGE = """
kind = "gbcs-ppmid"
manufacturer_code = 0xFFF0
image_type = 0x0084
file_version = 0x02000001
header_string = "chf demo PPMID"
hardware_versions = { minimum = 0x0100, maximum = 0x01FF }

[payload]
seed = "chf demo PPMID"
size_bytes = 65536
"""
"""The recipe of the image that is moved when none is given: long enough to watch, short enough to wait for."""

_SETTINGS = HubSettings(security=SecuritySettings(SecurityMode.CBKE))
_POLL_S = 0.05
_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Options:
    radio: str
    seed: int
    image: FirmwareImage
    home: Path
    pcap: Path | None
    keys: Path | None


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--radio", type=click.Choice(KINDS), default="ezsp", show_default=True, help="Kind of virtual dongle.")
@click.option("--image", "image_file", type=_FILE, help="An OTA or GBCS PPMID file.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is left to chance.")
@click.option("--pcap", type=_FILE, help="Write all that is on the air, for Wireshark.")
@click.option("--keys", type=_FILE, help="Write its keys (zigbee_pc_keys, mode 0600).")
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Keep store and PKI in this new directory."
)
@json_option
def demo(
    *,
    radio: str,
    image_file: Path | None,
    seed: int,
    pcap: Path | None,
    keys: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Update an emulated PPMID on a virtual dongle: no hardware, a few seconds.

    Starts the virtual dongle with one PPMID, forms the network, lets the PPMID join with its install code and
    establish a link key by certificate, submits a service request SR 11.4, serves the image, activates it, and shows
    the two alerts and the version that then runs.
    """
    with ExitStack() as cleanup:
        if home is None:
            home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="chf-demo-")))
        elif home.exists() and any(home.iterdir()):
            raise UsageError(f"{home} is not empty: the demo starts from nothing, so give it a new --home")
        image = _demo_image() if image_file is None else load_image(image_file)
        options = Options(radio, seed, image, home, pcap, keys)
        say: Callable[[str], None] = (lambda _text: None) if as_json else talk
        with Store.open(home, hub=True) as store:
            outcome = asyncio.run(_Demo(options, store, say, quiet=as_json).run())
    if as_json:
        print_json(outcome)
    else:
        _print(outcome)
    if outcome["result"] != JobState.ACTIVATED:
        raise ChfError(f"the update ended as {outcome['result']}: {outcome['reason']}")


def _demo_image() -> FirmwareImage:
    def no_files(name: str) -> bytes:
        raise UsageError(f"the demo's recipe reads no file, and certainly not {name}")

    return parse_image(build_image(parse_recipe(IMAGE), no_files))


class _Demo:
    def __init__(self, options: Options, store: Store, say: Callable[[str], None], *, quiet: bool) -> None:
        self._options, self._store, self._say, self._quiet = options, store, say, quiet
        self._clock: Clock = SystemClock()
        self._random = random.Random(options.seed)
        self._install_code = with_crc(self._random.randbytes(16))
        header = options.image.header
        self._version_before = header.file_version - 1 if header.file_version else 1

    async def run(self) -> dict[str, Any]:
        options = self._options
        pki = Pki.create(options.home / "pki", chf=HUB, keys=seeded_keys(f"chf demo {options.seed}".encode()))
        pki.issue(PPMID)
        zigbee = ZigbeePki(pki.path / "zigbee")
        for subject in (HUB, PPMID):  # the hub's by the EUI-64 of its dongle, which is the same here
            zigbee.issue(subject, seeded_numbers(f"chf demo {options.seed}".encode()))
        scenario = self._write_scenario(pki)
        async with asyncio.timeout(_LIMIT_S), self._virtual_dongle(scenario) as port:
            self._say(f"virtual dongle with one PPMID at {port}")
            dongle = Dongle(options.radio, port, 115_200, None, 15)
            hub = Hub(self._store, dongle.open(), pki, self._clock, _SETTINGS, self._narrate)
            running = asyncio.ensure_future(hub.run(form=True))
            story = asyncio.ensure_future(self._story())
            await asyncio.wait({running, story}, return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                story.cancel()
                await running  # it ended first, so it has something to say
            running.cancel()
            await asyncio.wait({running})
            return await story

    async def _story(self) -> dict[str, Any]:
        self._admit()
        await self._until(self._has_joined, "the PPMID did not join")
        job_id = self._submit()
        job = await self._follow(job_id)
        if job.state in (JobState.ACTIVATED, JobState.REVERTED):
            await self._until(lambda: len(self._alerts(job)) > 1, "the PPMID's alert did not come")
        return self._outcome(job)

    def _admit(self) -> None:
        now = self._clock.now().utc
        entry = DeviceEntry(PPMID, DeviceType.PPMID, now, link_key(self._install_code))
        with self._store.transaction() as tx:
            tx.devices.add(entry)
            tx.audit.append(Event(now, Kind.DEVICE_ADDED, PPMID, None, {"device_type": entry.device_type.value}))
            tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(PPMID), "seconds": 180}, now)

    def _has_joined(self) -> bool:
        entry = self._store.devices.get(PPMID)
        return entry is not None and entry.status is DeviceStatus.JOINED and entry.file_version is not None

    def _submit(self) -> int:
        """The service request, as a supplier sends it and as `chf dcc submit` takes it in."""
        image, now = self._options.image, self._clock.now()
        request = UpdateFirmwareRequest(
            ServiceReference.UPDATE_PPMID_FIRMWARE,
            RequestId(DEFAULT_SUPPLIER, DEFAULT_ACB, int(now.utc * 1000)),
            image.content,
            f"{image.header.file_version:08X}",
            (PPMID,),
        )
        downgrade = image.header.file_version < self._version_before
        reception = receive(self._store, request.to_bytes(), now, allow_downgrade=downgrade)
        self._say(f"SR 11.4 {request.request_id}: {reception.response.code.value}")
        if reception.command is None:
            refusal = reception.decision.request_refusal
            reasons = [refusal.reason] if refusal is not None else [str(line) for line in reception.decision.refused]
            raise RefusedError(f"the request is refused: {'; '.join(reasons)}")
        return reception.command

    async def _follow(self, command: int) -> Job:
        row = self._store.inbox.get(command)
        give_up = self._clock.now().instant + 10
        while row is None or row.result is None:
            if self._clock.now().instant > give_up:
                raise TimedOutError("the hub did not take the request")
            await asyncio.sleep(_POLL_S)
            row = self._store.inbox.get(command)
        if not row.result.get("started"):
            raise RefusedError(f"the hub refused the update: {row.result}")
        number = JobId(row.result["started"][0]["update"])
        with ExitStack() as stack:
            bars = None if self._quiet else stack.enter_context(TransferBars())
            while True:
                job = self._store.jobs.get(number)
                assert job is not None
                if bars is not None:
                    bars.show(job, progress.read(self._store.meta, number))
                if not job.active:
                    return job
                await asyncio.sleep(_POLL_S)

    async def _until(self, condition: Callable[[], bool], failure: str, limit_s: float = 60.0) -> None:
        give_up = self._clock.now().instant + limit_s
        while not condition():
            if self._clock.now().instant > give_up:
                raise TimedOutError(f"{failure} within {limit_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    def _alerts(self, job: Job) -> tuple[Alert, ...]:
        return self._store.alerts.list(job=int(job.id))

    def _outcome(self, job: Job) -> dict[str, Any]:
        image = self._options.image
        ended = [
            record.event.fields
            for record in self._store.audit.tail()
            if record.event.kind is Kind.OTA_TRANSFER_ENDED and record.event.job == job.id
        ]
        transfer = ended[-1] if ended else {"blocks": 0, "bytes": 0, "seconds": 0.0}
        entry = self._store.devices.get(PPMID)
        after = None if entry is None else entry.file_version
        return {
            "schema": 1,
            "result": job.state.value,
            "reason": job.reason,
            "image": {
                "sha256": image.sha256,
                "bytes": len(image.content),
                "file_version": f"0x{image.header.file_version:08X}",
            },
            "device": {
                "eui64": format_eui64(PPMID),
                "version_before": f"0x{self._version_before:08X}",
                "version_after": None if after is None else f"0x{after:08X}",
            },
            "transfer": {name: transfer[name] for name in ("blocks", "bytes", "seconds")},
            "alerts": [
                {name: described_alert(alert)[name] for name in ("use_case", "alert_code", "outcome", "message")}
                | {"signature_verified": alert.verified}
                for alert in self._alerts(job)
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
            case Kind.ALARM:
                self._say(f"alarm: {fields['reason']}")
            case _:
                pass

    def _write_scenario(self, pki: Pki) -> Path:
        header = self._options.image.header
        hardware = header.hardware_versions
        path = self._options.home / "demo-scenario.toml"
        path.touch(mode=0o600)  # the install code is in it
        path.write_text(
            f"""seed = {self._options.seed}

[ncp]
eui64 = "{format_eui64(HUB)}"

[[device]]
type = "ppmid"
eui64 = "{format_eui64(PPMID)}"
install_code = "{self._install_code.hex()}"
manufacturer = {header.manufacturer_code}
image_type = {header.image_type}
hardware_version = {0x0101 if hardware is None else hardware.minimum}
file_version = {self._version_before}
power_on_s = 1.5
access_control_broker = "{format_eui64(pki.acb)}"
signing_key = {json.dumps(str((pki.path / f"{PPMID:016x}-ds.key").absolute()))}
credentials = {json.dumps(f"pki/zigbee/{PPMID:016x}-suite2.txt")}
""",
            encoding="utf-8",
        )
        return path

    @asynccontextmanager
    async def _virtual_dongle(self, scenario: Path) -> AsyncIterator[str]:
        """The virtual dongle as a process; yields its port, ends it in the end."""
        command = [sys.executable, "-m", "devices", "serve", str(scenario), "--ncp", self._options.radio]
        for option, path in (("--pcap", self._options.pcap), ("--keys", self._options.keys)):
            if path is not None:
                command += [option, str(path)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(15):
                line = await process.stdout.readline()
            if not line:
                said = (await process.stderr.read()).decode(errors="replace").strip()
                raise RadioGoneError(f"the virtual dongle did not start: {said}")
            yield str(json.loads(line)["port"])
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


def _name(device: Eui64 | None) -> str:
    return "-" if device is None else format_eui64(device)


def _print(outcome: dict[str, Any]) -> None:
    for alert in outcome["alerts"]:
        signature = "signature verified" if alert["signature_verified"] else "signature not verified"
        click.echo(f"{alert['use_case']}  {alert['alert_code']}  {alert['outcome']}  {signature}  {alert['message']}")
    device = outcome["device"]
    click.echo(f"{device['eui64']}  {outcome['result']}  {device['version_before']} -> {device['version_after']}")
