"""The hub itself: its life, its tasks, and the way of a message. One task group, one thread.

A message comes in once: the gate says whether it may (`chf.hub.gate`), the handler of its cluster what is to be done
(`chf.hub.handler`), and the journal does it (`chf.hub.journal`): what is written comes before what is sent. Nothing is
decided here.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Final

from chf import __version__
from chf.background import keep_doing, note
from chf.clock import Clock, Now
from chf.errors import DamagedRowError, NoNetworkError, one_error
from chf.eui64 import Eui64
from chf.hub.batch import Batch, DeviceChange, Work, together
from chf.hub.commands import Commands
from chf.hub.deadlines import Deadlines
from chf.hub.device_log_alerts import DeviceLogAlerts, is_change
from chf.hub.gate import Gate
from chf.hub.handler import Handler, HubContext, ReadHandler, unsupported
from chf.hub.home_network import HomeNetwork
from chf.hub.journal import Journal
from chf.hub.keys import Keys
from chf.hub.presence import Presence
from chf.hub.settings import HubSettings
from chf.hub.tunnels import Tunnels
from chf.hub.updates import Updates, wait_answer
from chf.hub.upkeep import Upkeep
from chf.hub.wall_clock import WallClock
from chf.pki.gbcs import Pki
from chf.radio.interface import RADIO_NOTE, Delivery, Inbound, Outbound, Radio, RadioInfo, RadioState, radio_note
from chf.store import Store
from chf.store.rows import Unreadable
from chf.trace import Event, Kind
from chf.zcl import basic, key_establishment, metering, ota, time, tunneling

POLL_S: Final = 0.2  # how soon the hub looks at a command of the CLI (our choice)
SAVE_S: Final = 0.5  # how often progress and what was heard are written (our choice)


class Hub:
    """Implements `RadioListener` and `Carrier`. `trace` is given every event once it is written."""

    def __init__(
        self,
        store: Store,
        radio: Radio,
        pki: Pki,
        clock: Clock,
        settings: HubSettings | None = None,
        trace: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        settings = settings or HubSettings()
        context = HubContext.of(store, radio, clock, settings, pki)
        self._store, self._radio, self._clock, self._trace = store, radio, context.clock, trace
        self._devices, self._damage = context.devices, context.damage
        self._journal = Journal(store, self)
        self._gate = Gate(context.devices, settings.security.mode)
        self._presence = Presence(context.devices, settings.security.mode)
        self._keys = Keys(context)
        self._updates = Updates(context)
        self._tunnels = tunnels = Tunnels(context, self._updates)
        self._handlers: dict[int, Handler] = {
            key_establishment.CLUSTER: self._keys,
            ota.CLUSTER: self._updates,
            tunneling.CLUSTER: tunnels,
            time.CLUSTER: ReadHandler(lambda asked, now: time.answer(asked.payload, now)),
            basic.CLUSTER: ReadHandler(lambda asked, _: basic.answer(asked.payload)),
            metering.CLUSTER: ReadHandler(lambda asked, _: metering.answer(asked.payload, tunnels.flags(asked.source))),
        }
        self._others = ReadHandler(unsupported)
        self._home_network = HomeNetwork(store, context.devices)
        self._log_alerts = DeviceLogAlerts(context, self._journal)
        self._commands = Commands(context, self._updates, self._journal, self._log_alerts)
        self._upkeep = Upkeep(context, self._journal)
        self._wall_clock = WallClock(context.clock, self._updates)
        self._deadlines = Deadlines(self._handlers.values(), context.clock, self._journal.carry_out, self._alarm)
        self._early: dict[Eui64, Inbound] = {}  # the last Upgrade End Request of each device while the hub starts
        self._tasks: asyncio.TaskGroup | None = None
        self.info: RadioInfo | None = None

    async def run(
        self, *, form: bool, adopt: bool = False, ready: Callable[[RadioInfo], None] = lambda _info: None
    ) -> None:
        """Serve until cancelled; the message of that (`Task.cancel`) is traced as the reason.

        `adopt`: whatever network the dongle has, or none, is the home's from now on.

        Raises RefusedError where devices joined another network than the dongle's and `adopt` is not given,
        RadioGoneError where the dongle does not answer at the start, StoreCorruptError for a store that does not
        hang together, UsageError where key establishment is demanded and the hub has no certificate for this dongle.
        """
        self._event(Kind.HUB_STARTED, {"version": __version__, "pid": os.getpid()})
        reason = ""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                # Both take their time, and a device that is done with its download is answered meanwhile.
                prepared = [tasks.create_task(asyncio.to_thread(self._store.check))]
                prepared += [tasks.create_task(handler.prepare()) for handler in self._handlers.values()]
                info = await self._open(form=form, adopt=adopt)
                await asyncio.gather(*prepared)  # nobody is served from a damaged store
                self._start(info)
                for name, turn in (
                    ("taking commands", self._take_commands),
                    ("taking messages for devices", self._take_messages),
                    ("raising alerts of the device log", self._log_alerts.turn),
                    ("saving progress", self._save),
                    ("the store's checkpoint", self._upkeep.checkpoint),
                    ("retention", self._upkeep.prune),
                ):
                    tasks.create_task(keep_doing(name, turn, self._alarm))
                ready(info)
        except BaseExceptionGroup as group:  # not `except*`, which Python 3.11.2 has raise a group again
            error = one_error(group)
            reason = str(error)
            raise error from group
        except asyncio.CancelledError as stopped:
            reason = " ".join(map(str, stopped.args))
            raise
        finally:
            self._tasks = None
            self._deadlines.close()
            await self._radio.stop()
            await self._save()
            self._event(Kind.HUB_STOPPED, {"reason": reason})

    async def _open(self, *, form: bool, adopt: bool) -> RadioInfo:
        home = self._home_network
        try:
            info = await self._radio.start(self, form=form and (adopt or not home.binds))
        except NoNetworkError:
            if not adopt:
                home.require(None)
            raise
        if not adopt:
            home.require(info.network)
        return info

    def _start(self, info: RadioInfo) -> None:
        self.info, now = info, self._clock.now()
        if info.network is not None:
            self._log_alerts.extended_pan_id = info.network.extended_pan_id
        batch = Batch(now)
        if info.network is not None:
            self._home_network.note(info.network, batch)
        self._note_radio(batch, RadioState.UP, info.firmware)
        self._damage.report(self._devices.unreadable, batch)
        self._do(batch)
        for handler in self._handlers.values():
            self._do(handler.started(info.network, now))
        self._look_at_clock()
        early, self._early = self._early, {}
        for message in early.values():
            self.message_received(message)

    # What the radio reports (RadioListener)

    def message_received(self, message: Inbound) -> None:
        if self.info is None:
            self._hear_early(message)
            return
        now = self._clock.now()
        self._heard(message, now)
        refusal = self._gate.refusal(message)
        if refusal is not None:
            self._do(self._gate.refuse(message, refusal, now))
            return
        self._devices.hear(message.source, now)
        try:
            done = self._do(self._handlers.get(message.cluster, self._others).receive(message, now))
        except DamagedRowError as error:
            done = False
            self._report([Unreadable.of(error)])
        if not done and (answer := wait_answer(message)) is not None:
            self.post(answer)  # what it should hear is not written yet

    def _hear_early(self, message: Inbound) -> None:
        """No transfer is taken up yet: a device would be told that there is none. All but one kind are asked again.

        A device that is done with its download may activate where it hears nothing. It is told to wait, and the right
        answer follows once the hub knows it.
        """
        answer = wait_answer(message)
        if answer is not None and self._gate.refusal(message) is None:
            self._early[message.source] = message
            self.post(answer)

    def _heard(self, message: Inbound, now: Now) -> None:
        """A device that speaks is there: its key may be put back, and it counts as joined."""
        if (batch := self._keys.heard(message.source, now)) is not None:
            self._do(batch)
        if not self._journal.behind and (batch := self._presence.heard(message, now)) is not None:
            self._do(batch)

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        handler = self._handlers.get(message.cluster, self._others)
        self._do(handler.sent(message, delivery, self._clock.now()))

    def device_joined(self, device: Eui64, network_address: int) -> None:
        now = self._clock.now()
        if (batch := self._keys.heard(device, now)) is not None:
            self._do(batch)
        self._do(self._presence.joined(device, network_address, now))

    def device_left(self, device: Eui64) -> None:
        self._do(self._presence.left(device, self._clock.now()))

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        now = self._clock.now()
        batch = Batch(now)
        batch.event(Kind.RADIO_STATE, {"state": state.value, "reason": reason})
        self._note_radio(batch, state, reason)
        self._do(batch)
        if state is RadioState.UP and self.info is None:  # at the start: what came before could not be answered
            for message in self._early.values():
                self._hear_early(message)
        elif state is RadioState.UP:
            for handler in self._handlers.values():
                self._do(handler.radio_returned(now))

    # What a batch wants done (Carrier)

    def post(self, message: Outbound) -> None:
        if self._gate.lets_out(message):
            self._radio.post(message)
        else:
            asyncio.get_running_loop().call_soon(self.message_sent, message, Delivery.REFUSED)

    def trace(self, event: Event) -> None:
        if is_change(event):
            self._log_alerts.changed.set()
        self._trace(event)

    def start(self, work: Work) -> None:
        async def then_do() -> None:
            try:
                batch = await work()
            except Exception as error:  # noqa: BLE001 the outermost of its task, which may not end the hub
                reason = f"a task failed: {error or type(error).__name__}"
                note(reason, error)
                self._alarm(reason)
            else:
                if batch is not None:
                    self._do(batch)

        if self._tasks is not None:
            self._tasks.create_task(then_do())

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        batch = Batch(now)
        if change in (DeviceChange.FORGOTTEN, DeviceChange.UNWRITTEN):
            self._devices.reload()
            self._damage.report(self._devices.unreadable, batch)
        for handler in self._handlers.values():
            batch.add(handler.device_changed(device, change, now))
        return batch

    def _do(self, batch: Batch) -> bool:
        """Whether it is done: it may have to wait until it can be written."""
        done = self._journal.carry_out(batch)
        if self._tasks is not None:
            self._deadlines.plan()
        return done

    # The tasks: each returns how many seconds to wait before its next turn

    def _look_at_clock(self) -> None:
        if (batch := self._wall_clock.look()) is not None:
            self._do(batch)

    async def _take_commands(self) -> float:
        self._look_at_clock()
        if self._store.changed_by_others():
            self._log_alerts.changed.set()
            self._reload()
        if await self._commands.take():
            self._reload()
            self._deadlines.plan()
        return POLL_S

    async def _take_messages(self) -> float:
        self._look_at_clock()  # their times are by the wall clock
        for batch in self._tunnels.take_messages(self._clock.now()):
            self._do(batch)
        return POLL_S

    async def _save(self) -> float:
        """Progress, and what was learned of devices: worth little each, so written together."""
        self._journal.retry()
        if not self._journal.behind:
            now = self._clock.now()
            if parts := [*self._updates.unwritten(now), *self._devices.unwritten(now)]:
                self._do(together(parts, now))
        return SAVE_S

    def _reload(self) -> None:
        self._devices.reload()
        self._report(self._devices.unreadable)

    # Notes for people

    def _report(self, rows: Iterable[Unreadable]) -> None:
        batch = Batch(self._clock.now())
        self._damage.report(rows, batch)
        self._journal.carry_out(batch)

    def _note_radio(self, batch: Batch, state: RadioState, reason: str) -> None:
        """For `chf radio info` and `chf watch`."""
        text = radio_note(self.info, state, reason, batch.now.utc)
        batch.write(lambda tx: tx.meta.set(RADIO_NOTE, text))

    def _event(self, kind: Kind, fields: dict[str, str | int]) -> None:
        batch = Batch(self._clock.now())
        batch.event(kind, fields)
        self._journal.carry_out(batch)

    def _alarm(self, reason: str) -> None:
        self._event(Kind.ALARM, {"reason": reason})
