"""The hub itself: listens to the radio, keeps the deadlines, takes commands from the inbox. One task group, one thread.

It decides nothing about updates or tunnels (chf.update, chf.tunnel do), and it never sends what is not written.
What it does see to is who may speak: a device that is not in the device log gets nothing, and what others may say, and
be told, under which protection is in one table (`admission`).
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from chf import __version__
from chf.clock import Clock, Instant, Now, isoformat
from chf.errors import MalformedFrameError, StoreError, one_error
from chf.eui64 import Eui64
from chf.hub import admission
from chf.hub.admission import SecurityMode
from chf.hub.alerts import Upward
from chf.hub.batch import Batch
from chf.hub.commands import Commands
from chf.hub.devices import KnownDevices
from chf.hub.journal import Journal
from chf.hub.keys import Keys
from chf.hub.log_alerts import LogAlerts
from chf.hub.settings import HubSettings
from chf.hub.tunnels import Tunnels
from chf.hub.updates import Updates
from chf.pki.gbcs import Pki
from chf.pki.zigbee import ZigbeePki
from chf.radio.interface import (
    HUB_ENDPOINT,
    SMART_ENERGY_PROFILE,
    Delivery,
    Inbound,
    Outbound,
    Radio,
    RadioInfo,
    RadioState,
)
from chf.store import Store, progress
from chf.store.device_log import DeviceStatus
from chf.trace import Event, Kind
from chf.update.scheduler import Scheduler
from chf.update.transfer.effects import Token
from chf.update.transfer.server import OtaServer
from chf.zcl import basic, key_establishment, metering, time
from chf.zcl import ota as zcl_ota
from chf.zcl import tunneling as zcl_tunneling
from chf.zcl.frame import Frame, Status

_LOG = logging.getLogger(__name__)

NO_ADDRESS: Final = 0xFFFE  # Zigbee R22 3.6.1.7: a short address that is not known
POLL_S: Final = 0.2  # how soon a command of the CLI is taken
SAVE_S: Final = 0.5  # how often progress and what was heard are written
CHECKPOINT_S: Final = 30.0  # how often SQLite's log is moved into its file

RADIO_NOTE: Final = "radio"
"""Under this key the store's meta table tells what the radio is doing."""


class Hub:
    """Implements `RadioListener`. `tell` hears every event once it is written."""

    def __init__(
        self,
        store: Store,
        radio: Radio,
        pki: Pki,
        clock: Clock,
        settings: HubSettings | None = None,
        tell: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        settings = settings or HubSettings()
        self._store, self._radio, self._clock, self._pki = store, radio, clock, pki
        self._mode = settings.security.mode
        self._journal = Journal(store, self._post, tell)
        self._devices = KnownDevices(store)
        self._upward = Upward(pki)
        self._updates = Updates(
            store,
            OtaServer(settings.ota),
            Scheduler(settings.jobs),
            self._upward,
            self._devices,
            self._journal.carry_out,
            self._arrived,
        )
        self._tunnels = Tunnels(
            store,
            radio,
            clock,
            settings.tunnel,
            self._updates,
            self._upward,
            self._devices,
            self._journal.carry_out,
            self._spawn,
        )
        raises = settings.security.device_log_alert and self._upward.shares_key_with_acb
        self._log_alerts = LogAlerts(self._upward, enabled=raises)
        self._commands = Commands(
            store, radio, self._updates, self._journal, settings.jobs, self._log_alerts, self._forgotten
        )
        self._keys = Keys(
            radio,
            self._devices,
            clock,
            self._journal.carry_out,
            self._spawn,
            self._key_established,
            self._on_disk,
            settings.key_establishment,
        )
        self._log_changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due: Instant | None = None  # what the timer is set to
        self._tasks: asyncio.TaskGroup | None = None
        self.info: RadioInfo | None = None

    async def run(self, *, form: bool, ready: Callable[[RadioInfo], None] = lambda _info: None) -> None:
        """Serve until cancelled; the message of that (`Task.cancel`) is traced as the reason.

        Raises RadioGoneError where the dongle does not answer at the start, UsageError where key establishment is
        demanded and the hub has no certificate for this dongle.
        """
        self._event(Kind.HUB_STARTED, {"version": __version__, "pid": os.getpid()})
        reason = ""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.info = await self._radio.start(self, form=form)
                self._equip(self.info)
                batch = Batch(self._clock.now())
                self._note_radio(batch, RadioState.UP, self.info.firmware)
                self._journal.carry_out(batch)
                self._take_up()
                tasks.create_task(self._take_commands())
                tasks.create_task(self._tell_of_log())
                tasks.create_task(self._save_now_and_then())
                tasks.create_task(self._keep_log_short())
                ready(self.info)
        except BaseExceptionGroup as group:  # not `except*`, which Python 3.11.2 has raise a group again
            error = one_error(group)
            reason = str(error)
            raise error from group
        except asyncio.CancelledError as stopped:
            reason = " ".join(map(str, stopped.args))
            raise
        finally:
            self._tasks = None
            if self._timer is not None:
                self._timer.cancel()
            await self._radio.stop()
            self._save()
            self._event(Kind.HUB_STOPPED, {"reason": reason})

    # What the radio tells (RadioListener)

    def message_received(self, message: Inbound) -> None:
        now = self._clock.now()
        entry = self._devices.get(message.source)
        self._keys.heard(message.source, now)
        if entry is not None and entry.status is not DeviceStatus.JOINED:
            self._absent_speaks(message)
        if entry is None:
            self._stranger(message, now)
        elif message.profile != SMART_ENERGY_PROFILE or message.destination_endpoint != HUB_ENDPOINT:
            self._refuse(message, now, "not for the hub's Smart Energy endpoint", answer=False)
        elif (reason := self._inadmissible(message)) is not None:
            self._refuse(message, now, reason, answer=not message.broadcast)
        elif message.cluster == key_establishment.CLUSTER and self._keys.serving:
            if not message.broadcast:  # Ember-KE: ignored
                self._devices.hear(message.source, now)
                self._keys.receive(message, now)
                self._plan()
        elif message.cluster == zcl_ota.CLUSTER:
            self._ota(message, now)
        elif message.cluster == zcl_tunneling.CLUSTER:
            self._devices.hear(message.source, now)
            self._tunnels.receive(message, now)
            self._plan()
        else:
            self._devices.hear(message.source, now)
            self._answer(message, now)

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        token = message.reference
        if isinstance(token, Token):
            now = self._clock.now()
            batch = self._updates.delivered(message.destination, token, delivery is Delivery.DELIVERED, now)
            if batch is not None:
                self._journal.carry_out(batch)
                self._plan()

    def device_joined(self, device: Eui64, network_address: int) -> None:
        now = self._clock.now()
        batch = Batch(now)
        if self._devices.get(device) is None:
            reason = "a device that is not in the device log joined; it gets nothing"
            batch.event(Kind.ALARM, {"reason": reason}, device=device)
            self._journal.carry_out(batch)
            return
        self._keys.heard(device, now)
        if self._devices.joined_again(device, network_address, now):
            return  # a rejoin and the announcement after it are one arrival
        batch.event(Kind.DEVICE_JOINED, {"network_address": network_address}, device=device)
        batch.write(
            lambda tx: self._devices.save(tx, device, status=DeviceStatus.JOINED, network_address=network_address),
            durable=False,
        )
        batch.then(lambda: self._devices.saved(device))
        self._journal.carry_out(batch)
        if self._mode is SecurityMode.LAB or self._keys.has_key(device):
            self._arrived(device, now)

    def _key_established(self, device: Eui64, now: Now) -> None:
        self._log_changed.set()
        self._arrived(device, now)

    def _arrived(self, device: Eui64, now: Now) -> None:
        """On the network, and all that is demanded before is done: what the hub wants of it begins."""
        batch = Batch(now)
        self._updates.rejoined(device, batch)
        self._journal.carry_out(batch)
        self._tunnels.joined(device, now)
        self._plan()

    def _absent_speaks(self, message: Inbound) -> None:
        """Its announcement, a broadcast, was lost: but whoever speaks under its link key is on the network."""
        if message.aps_secured and not self._journal.behind:
            self.device_joined(message.source, NO_ADDRESS)

    def device_left(self, device: Eui64) -> None:
        if self._devices.get(device) is None:
            return
        now = self._clock.now()
        batch = Batch(now)
        batch.event(Kind.DEVICE_LEFT, {}, device=device)
        batch.write(lambda tx: self._devices.save(tx, device, status=DeviceStatus.LEFT))
        batch.then(lambda: self._devices.saved(device))
        self._journal.carry_out(batch)
        self._tunnels.left(device, now)
        self._plan()

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        batch = Batch(self._clock.now())
        batch.event(Kind.RADIO_STATE, {"state": state.value, "reason": reason})
        self._note_radio(batch, state, reason)
        self._journal.carry_out(batch)
        if state is RadioState.UP:
            self._spawn(self._keys.put_back)
        if state is RadioState.UP and self.info is not None:  # not at the start: nothing was taken up yet
            self._tunnels.reopen("the radio was away", batch.now)
            self._plan()

    # Who may speak, and be spoken to

    def _equip(self, info: RadioInfo) -> None:
        """With what depends on this dongle: its network, and certificates, which devices insist bear its EUI-64."""
        if info.network is not None:
            self._log_alerts.extended_pan_id = info.network.extended_pan_id
        if self._mode is SecurityMode.CBKE and info.network is not None:
            self._keys.equip(ZigbeePki(self._pki.path / "zigbee").held_by(info.network.coordinator))

    def _inadmissible(self, message: Inbound) -> str | None:
        established = self._keys.has_key(message.source)
        return admission.refusal(message.cluster, self._mode, aps_secured=message.aps_secured, established=established)

    def _post(self, message: Outbound) -> None:
        established = self._keys.has_key(message.destination)
        secured = message.aps_secured
        if admission.refusal(message.cluster, self._mode, aps_secured=secured, established=established) is None:
            self._radio.post(message)
        else:
            asyncio.get_running_loop().call_soon(self.message_sent, message, Delivery.REFUSED)

    # Frames

    def _ota(self, message: Inbound, now: Now) -> None:
        if message.broadcast:
            self._refuse(message, now, "an OTA request by broadcast", answer=False)
            return
        self._devices.hear(message.source, now, message.source_endpoint)
        done = self._updates.receive(message.source, message.source_endpoint, message.payload, now)
        if isinstance(done, Outbound):
            self._radio.post(done)
            due = self._updates.server.deadline()  # the first block of a page is one message too, with more to follow
            if due is not None and (self._due is None or due < self._due):
                self._plan()
            return
        self._journal.carry_out(done)
        self._plan()

    def _answer(self, message: Inbound, now: Now) -> None:
        """Clusters that only answer reads; an answer is protected as its question was."""
        if message.cluster == time.CLUSTER:
            payload = time.answer(message.payload, now)
        elif message.cluster == basic.CLUSTER:
            payload = basic.answer(message.payload)
        elif message.cluster == metering.CLUSTER:
            payload = metering.answer(message.payload, self._tunnels.flags(message.source))
        else:
            payload = _unsupported(message.payload)
        if payload is not None and not message.broadcast:
            self._radio.post(self._reply(message, payload, secured=message.aps_secured))

    def _refuse(self, message: Inbound, now: Now, reason: str, *, answer: bool) -> None:
        """Count it and change nothing; Smart Energy stacks answer FAILURE in the clear."""
        if self._devices.refuse(message.source, now) == 1:  # once between two writes: a flood must not fill the audit
            batch = Batch(now)
            fields = {"cluster": f"0x{message.cluster:04X}", "reason": reason}
            batch.event(Kind.FRAME_REFUSED, fields, device=message.source)
            self._journal.carry_out(batch)
        if answer and (payload := _failure(message.payload)) is not None:
            self._radio.post(self._reply(message, payload, secured=False))

    def _stranger(self, message: Inbound, now: Now) -> None:
        self._devices.strangers[message.source] += 1
        if self._devices.strangers[message.source] == 1:
            batch = Batch(now)
            fields = {"cluster": f"0x{message.cluster:04X}", "reason": "not in the device log"}
            batch.event(Kind.FRAME_REFUSED, fields, device=message.source)
            self._journal.carry_out(batch)

    @staticmethod
    def _reply(message: Inbound, payload: bytes, *, secured: bool) -> Outbound:
        return Outbound(message.source, message.source_endpoint, message.cluster, payload, aps_secured=secured)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def then_plan() -> None:
            await work()
            self._plan()

        if self._tasks is not None:
            self._tasks.create_task(then_plan())

    def _forgotten(self, device: Eui64, now: Now) -> None:
        self._devices.reload()
        self._keys.forget(device)
        self._tunnels.forgotten(device, now)
        self._plan()

    # Time

    def _take_up(self) -> None:
        """Go on where the store says that an earlier process was."""
        now = self._clock.now()
        self._updates.restore(now)
        self._tunnels.take_up(now)
        self._plan()

    def _plan(self) -> None:
        """One timer for the nearest deadline of all cores."""
        deadlines = (
            self._updates.server.deadline(),
            self._updates.scheduler.deadline(),
            self._tunnels.deadline(),
            self._keys.deadline(),
        )
        due = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None and self._tasks is not None:
            delay = max(due - self._clock.now().instant, 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay, self._deadline, due)

    def _deadline(self, due: Instant) -> None:
        self._timer = self._due = None
        now = self._clock.now()
        if now.instant >= due:
            self._updates.handle_deadline(now)
            self._tunnels.handle_deadline(now)
            self._keys.handle_deadline(now)
        self._plan()

    async def _take_commands(self) -> None:
        while True:
            if self._store.changed_by_others():
                self._devices.reload()
                self._log_changed.set()
            if await self._commands.take(self._clock):
                self._devices.reload()
            self._tunnels.take_messages(self._clock.now())
            self._plan()
            await asyncio.sleep(POLL_S)

    async def _tell_of_log(self) -> None:
        """CS14, for one page of the audit after the other; other tasks get their turns in between."""
        while True:
            await self._log_changed.wait()
            batch = Batch(self._clock.now())
            if self._journal.behind:
                await asyncio.sleep(SAVE_S)
            elif self._log_alerts.raise_page(self._store, batch):
                self._journal.carry_out(batch)
                await asyncio.sleep(0)
            else:
                self._log_changed.clear()
                await self._on_disk()

    async def _on_disk(self) -> bool:
        return await _beside_the_loop(self._store.sync, "not on disk yet")

    async def _keep_log_short(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            await _beside_the_loop(self._store.checkpoint, "the store's log was not moved into its file")

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            self._save()

    def _save(self) -> None:
        """Progress, and what was learned of devices: worth little each, so written together."""
        self._journal.retry()
        unwritten = [transfer for transfer in self._updates.transfers.values() if transfer.unwritten]
        heard = self._devices.unwritten_devices()
        if self._journal.behind or not (unwritten or heard):
            return
        try:
            with self._store.transaction(durable=False) as tx:  # the disk must not hold up the blocks
                for transfer in unwritten:
                    assert transfer.progress is not None
                    progress.write(tx.meta, transfer.job, transfer.progress)
                for device in heard:
                    self._devices.save(tx, device)
        except StoreError as error:
            _LOG.warning("progress was not written: %s", error)
            return
        for transfer in unwritten:
            transfer.unwritten = False
        for device in heard:
            self._devices.saved(device)

    def _note_radio(self, batch: Batch, state: RadioState, reason: str) -> None:
        """For `chf radio info` and `chf watch`."""
        known = {} if self.info is None else self.info.as_json()
        text = json.dumps({"state": state.value, "reason": reason, "since": isoformat(batch.now.utc), **known})
        batch.write(lambda tx: tx.meta.set(RADIO_NOTE, text))

    def _event(self, kind: Kind, fields: Mapping[str, str | int]) -> None:
        batch = Batch(self._clock.now())
        batch.event(kind, fields)
        self._journal.carry_out(batch)


async def _beside_the_loop(wait: Callable[[], None], in_vain: str) -> bool:
    """Wait for the disk in a thread: blocks do not wait with it. False where it refused."""
    try:
        await asyncio.to_thread(wait)
    except StoreError as error:
        _LOG.warning("%s: %s", in_vain, error)
        return False
    return True


def _failure(octets: bytes) -> bytes | None:
    try:
        return Frame.from_bytes(octets).default_response(Status.FAILURE)
    except MalformedFrameError:
        return None


def _unsupported(octets: bytes) -> bytes | None:
    try:
        return Frame.from_bytes(octets).unsupported()
    except MalformedFrameError:
        return None
