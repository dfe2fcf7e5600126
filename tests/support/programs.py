"""The programs as a person runs them: a virtual dongle, a hub, and commands beside it, each a process of its own.

with bench(tmp_path, ppmid(...)) as desk:
    desk.start_hub()
    desk.admit(EUI64)                               # into the device log, and onto the network
    number = desk.start_update(image_file(tmp_path / "new.ota", file_version=2))
    desk.until_state(number, UpdateState.ACTIVATED)

Waits look at the store, at the device's events or at the hub's output, up to a deadline. Only processes that were
started here are ended here.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chf.clock import SystemClock
from chf.crypto.install_code import link_key, parse_install_code
from chf.eui64 import parse_eui64
from chf.image.build import build_image
from chf.image.recipe import parse_recipe
from chf.pki.gbcs import Pki, seeded_keys
from chf.store import Alert, DeviceEntry, DeviceStatus, DeviceType, Store
from chf.store.inbox import Command, CommandState, Verb
from chf.trace import Event, Kind
from chf.update.model import Update, UpdateId, UpdateState
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, ROOT, VirtualDongle, ppmid, virtual_dongle

LIMIT_S = 30.0
_POLL_S = 0.02

MANUFACTURER, IMAGE_TYPE = 0x10D4, 0x0001  # of tests.support.virtual_dongle.ppmid


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Bench:
    """What stands on the desk. `said` collects all that any command printed."""

    directory: Path
    dongle: VirtualDongle
    home: Path
    pki: Pki
    hub: subprocess.Popen[bytes] | None = None
    said: list[str] = field(default_factory=list)
    _store: Store | None = None

    # Processes

    @property
    def log(self) -> Path:
        """All that hubs on this desk printed, one after another."""
        return self.directory / "hub.log"

    def start_hub(
        self, *options: str, port: str = "", config: str = "", wait: bool = True, timeout_s: float = LIMIT_S
    ) -> None:
        """`chf run`; with `wait`, until it is up."""
        assert self.hub is None or self.hub.poll() is not None, "one hub at a time"
        if config:
            (self.directory / "hub.toml").write_text(config)
            options = (*options, "--config", str(self.directory / "hub.toml"))
        before = self.log.stat().st_size if self.log.exists() else 0
        command = [*chf_command("run"), "--port", port or self.dongle.port, "--home", str(self.home), *options]
        with self.log.open("ab") as log:
            self.hub = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.until(lambda: self.hub_said("the hub is up", after=before), "the hub to be up", timeout_s)

    def hub_said(self, text: str, after: int = 0) -> bool:
        assert self.hub is not None
        said = self.log.read_bytes()[after:].decode(errors="replace")
        assert text in said or self.hub.poll() is None, f"the hub ended with {self.hub.returncode}: {said}"
        return text in said

    def kill_hub(self) -> None:
        """As the power goes: no handler runs."""
        assert self.hub is not None
        self.hub.send_signal(signal.SIGKILL)
        self.hub.wait(10.0)

    def stop_hub(self, number: int = signal.SIGTERM) -> int:
        assert self.hub is not None
        self.hub.send_signal(number)
        return self.hub.wait(10.0)

    def chf(self, *arguments: str, code: int | None = 0, stdin: str = "") -> Ran:
        """A command beside the hub. Fails where it ends with another exit code."""
        ran = run_chf(*arguments, home=self.home, stdin=stdin)
        self.said += [ran.out, ran.err]
        assert code is None or ran.code == code, f"chf {' '.join(arguments)} ended with {ran.code}: {ran.err}{ran.out}"
        return ran

    # Steps that most stories share

    def admit(
        self,
        *devices: str,
        install_code: str = INSTALL_CODE,
        joined: bool = True,
        device_type: DeviceType = DeviceType.PPMID,
    ) -> None:
        """What `chf device add` and `permit` do, for many devices at once, and each device's pairing button."""
        now = SystemClock().now().utc
        key = link_key(parse_install_code(install_code))
        with self.store.transaction() as tx:
            for device in devices:
                tx.devices.add(DeviceEntry(parse_eui64(device), device_type, now, key))
                command = tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": device, "seconds": 180}, now)
        if joined:
            self.until(lambda: self.command(command).state is not CommandState.PENDING, "the joining window")
            self.pair(*devices)

    def pair(self, *devices: str) -> None:
        """Devices rarely look for a network by themselves; restarted, they do at once."""
        for device in devices:
            self.dongle.command(do="reboot", eui64=device)
        for device in devices:
            self.until(partial(self.ready, device), f"{device} to join and ask")

    def command(self, number: int) -> Command:
        command = self.store.inbox.get(number)
        assert command is not None
        return command

    def ready(self, device: str) -> bool:
        """On the network, and its OTA client has told what it runs."""
        entry = self.store.devices.get(parse_eui64(device))
        return entry is not None and entry.status is DeviceStatus.JOINED and entry.images != ()

    def start_update(self, image: Path, *options: str, device: str = EUI64) -> UpdateId:
        ran = self.chf("update", "start", "--device", device, "--image", str(image), "--json", *options)
        started = ran.json["started"]
        assert started, ran
        return UpdateId(started[0]["update"])

    # Looking

    @property
    def store(self) -> Store:
        """The same file that the hub writes."""
        if self._store is None:
            self._store = Store.open(self.home)
        return self._store

    def update(self, number: int) -> Update:
        update = self.store.updates.get(UpdateId(number))
        assert update is not None
        return update

    def alerts(self, use_case: str | None = None, device: str | None = None) -> tuple[Alert, ...]:
        """Those of the device log (CS14), which every desk has, only where they are asked for."""
        wanted = None if device is None else parse_eui64(device)
        found = self.store.alerts.list(use_case=use_case, device=wanted)
        return tuple(alert for alert in found if use_case is not None or alert.use_case != "CS14")

    def events(self, kind: Kind) -> list[Event]:
        return [record.event for record in self.store.audit.tail(limit=-1) if record.event.kind is kind]

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = LIMIT_S) -> None:
        def look() -> object:
            self.dongle.events()  # a pipe that nobody reads would stop the devices
            return condition()

        until(look, what, self.explain, timeout_s)

    def until_state(self, number: int, *states: UpdateState, timeout_s: float = LIMIT_S) -> Update:
        self.until(lambda: self.update(number).state in states, f"update {number} to be {states}", timeout_s)
        return self.update(number)

    def until_alerts(self, count: int, timeout_s: float = LIMIT_S) -> tuple[Alert, ...]:
        self.until(lambda: len(self.alerts()) >= count, f"{count} alerts", timeout_s)
        return self.alerts()

    def until_offset(self, offset_bytes: int, device: str = EUI64) -> None:
        """The device has so much of an image in its flash."""

        def there() -> bool:
            return any(
                event["event"] == "download_progress" and event["offset_bytes"] >= offset_bytes
                for event in self.dongle.events()
                if event.get("eui64") == device
            )

        self.until(there, f"{device} to have {offset_bytes} octets")

    def explain(self) -> str:
        """For a wait that was in vain."""
        states = [(int(update.id), update.state.value, update.reason) for update in self.store.updates.list()]
        log = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        told = [record["event"] for record in self.dongle.seen][-20:]
        return f"updates {states}\ndevices told {told}\nhub said:\n{log}"

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
        if self.hub is not None and self.hub.poll() is None:
            self.hub.kill()
            self.hub.wait(10.0)


def quick(eui64: str = EUI64, **settings: object) -> str:
    """A PPMID that does everything as any does, with little waiting in between."""
    return ppmid(eui64, **{"reboot_s": 0.2, "query_delay_s": 0.1, "alert_retry_s": 1.0, **settings})


def commanded(kind: str, eui64: str, **settings: object) -> str:
    """An HCALCS, ESME or GSME of `bench(..., issue=(eui64,))`, with the keys and certificates of that bench's PKI."""
    keys = Path("home") / "pki"
    own = keys / f"{parse_eui64(eui64):016x}"
    return ppmid(
        eui64,
        **{
            "type": kind,
            "reboot_s": 0.2,
            "query_delay_s": 0.1,
            "alert_retry_s": 1.0,
            "signing_key": f"{own}-ds.key",
            "key_agreement_key": f"{own}-ka.key",
            "supplier_certificate": str(keys / "90b3d51f30010000-ds.pem"),
            "supplier_agreement_certificate": str(keys / "90b3d51f30010000-ka.pem"),
            "acb_certificate": str(keys / "90b3d51f30000002-ka.pem"),
            **settings,
        },
    )


def signed_image_file(path: Path, pki: Pki, *, force_replace: bool = False, **how: Any) -> Path:
    """An image that the supplier of this PKI signed."""
    flag = "true" if force_replace else "false"
    more = f'[signature]\nforce_replace = {flag}\nkey_file = "{pki.supplier:016x}-ds.key"\n'
    return image_file(path, kind="gbcs-signed", more=more, read=lambda name: (pki.path / name).read_bytes(), **how)


@contextmanager
def bench(
    directory: Path,
    scenario: str,
    *options: str,
    listen: str = "tcp://127.0.0.1:0",
    capture: bool = False,
    issue: Sequence[str] = (),
) -> Iterator[Bench]:
    """A virtual dongle with the devices of `scenario`, and a home directory whose PKI knows no device yet."""
    home = directory / "home"
    pki = Pki.create(home / "pki", chf=parse_eui64("00-DB-12-34-56-78-90-A2"), keys=seeded_keys(b"system tests"))
    for device in issue:
        pki.issue(parse_eui64(device), seeded_keys(b"system tests"))
    with virtual_dongle(directory, scenario, *options, listen=listen, capture=capture) as dongle:
        desk = Bench(directory, dongle, home, pki)
        try:
            yield desk
        finally:
            desk.close()


def chf_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "chf.cli.main", *arguments]


def run_chf(*arguments: str, home: Path, stdin: str = "", timeout_s: float = 60.0) -> Ran:
    done = subprocess.run(
        chf_command(*arguments),
        cwd=ROOT,
        env={**os.environ, "CHF_HOME": str(home), "COLUMNS": "200"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def until(condition: Callable[[], object], what: str, explain: Callable[[], str], timeout_s: float = LIMIT_S) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"waited {timeout_s} s in vain for {what}\n{explain()}"
        time.sleep(_POLL_S)


def steal_connection(port: str) -> None:
    """Cut a host off its dongle: the newest connection gets it, and this one goes at once."""
    host, _, number = port.removeprefix("tcp://").rpartition(":")
    socket.create_connection((host, int(number)), timeout=5.0).close()


def image_file(
    path: Path,
    *,
    file_version: int = 2,
    size_bytes: int = 8000,
    kind: str = "gbcs-ppmid",
    manufacturer: int = MANUFACTURER,
    image_type: int = IMAGE_TYPE,
    hardware: Sequence[int] | None = (0, 0xFFFF),
    more: str = "",
    read: Callable[[str], bytes] | None = None,
) -> Path:
    """An image of `chf image build`, whose content follows from its version alone."""
    versions = "" if hardware is None else f"hardware_versions = {{ minimum = {hardware[0]}, maximum = {hardware[1]} }}"
    recipe = f"""
kind = "{kind}"
manufacturer_code = {manufacturer}
image_type = {image_type}
file_version = {file_version}
header_string = "system test"
{versions}
[payload]
seed = "system test {file_version}"
size_bytes = {size_bytes}
{more}"""
    path.write_bytes(build_image(parse_recipe(recipe), read or _no_files))
    return path


def _no_files(name: str) -> bytes:
    raise AssertionError(f"the recipe asks for {name}")
