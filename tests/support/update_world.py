"""One update in virtual time: the hub's whole update core, an emulated OTA client with its flash, the air between them.

A `Schedule` says what is ordered and what goes wrong, and when; it is data, and a run depends on nothing else. What must
hold is asked at every step (`world_rules`): a `ViolationError` says what did not.

Not here: the store and the radio (the hub's own tests have them), and more than one device.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chf.clock import Instant, Now, UtcSeconds, to_zigbee_time
from chf.errors import RefusedError
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import parse_image
from chf.trust import ClockRecord, WatchedClock
from chf.update import model
from chf.update.clients import CLASSES, UNKNOWN
from chf.update.effects import (
    Alarm,
    AlarmKind,
    Happened,
    LoadImage,
    Persist,
    RaiseTransferAlert,
    Send,
    Token,
    VersionSeen,
)
from chf.update.machine import About, Accepted, Delivered, FrameReceived, ImageReady, UpdateMachine
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from devices.nodes import cluster, events
from devices.nodes.personalities import PERSONALITIES
from tests.support.model_hub import DEVICE, HUB_ENDPOINT, NEW, OLD, image, settings
from tests.support.schedules import DAY_S, FAULTS, MESSAGE_DEEDS, ORDERS, Deed, Schedule, activation
from tests.support.world_air import Air, Message, kind_of
from tests.support.world_device import REBOOT_S, Device
from tests.support.world_rules import Rules, ViolationError

PEER = Eui64(DEVICE)
START = 10_000_000.0  # the instant at which a schedule begins; far from every duration
START_UTC = 1_800_000_000.0
REPORT_AGAIN_S = 10.0
QUIET_S = 900.0  # in which a finished update shows what it comes to
CALM_S = 6 * 3600.0  # after the last thing of a schedule: nothing goes wrong any more


@dataclass(slots=True)
class WallClock:
    """The two clocks of the hub's machine; the emulated world's instant is its monotonic one."""

    seconds: float = START
    offset: float = START_UTC - START

    def instant(self) -> Instant:
        return Instant(self.seconds)

    def now(self) -> Now:
        return Now(Instant(self.seconds), UtcSeconds(self.seconds + self.offset), boot="this one")


class World:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        octets = image(body_bytes=schedule.body_bytes)
        self.image = parse_image(octets)
        self.machine_clock = WallClock()
        self.instant = START
        self.clock = WatchedClock(self.machine_clock, None)
        self.clock_record: ClockRecord | None = None
        self.steps = 0
        self.deeds = [deed for deed in schedule.deeds if deed.on != "start"]
        self.planned = sorted(
            ((START + deed.after_s, number, deed) for number, deed in enumerate(schedule.deeds) if deed.on == "start"),
            key=lambda item: item[:2],
        )
        # Images here are small, so the size from which a client remembers how far it came is small as well.
        personality = replace(PERSONALITIES[schedule.personality], resume_above_bytes=0)
        self.device = Device(settings(personality=personality, faults=FAULTS[schedule.fault]), boot_at=START)
        # The hub
        # A parked device asks less often than it is set to, so that a search has fewer steps without a choice.
        self.policies = SchedulePolicy(lifetime_s=schedule.lifetime_s), OtaPolicy(hold_wait_s=300)
        self.client_class = CLASSES.get(schedule.personality, UNKNOWN) if schedule.known else UNKNOWN
        self.machine: UpdateMachine | None = None
        self.back_at: float | None = None
        self.dies_after: int | None = None
        self.row: model.Update
        self.image_types = set[ImageType]()  # of which the device spoke, as the device log has it
        self.ordering = False
        self.rules = Rules(schedule, self.image, start=START)
        self.air = Air(self.deeds, self.rules, size_bytes=len(self.image.content))
        self.rules.allowed = activation(schedule.order, self.utc + schedule.at_s, schedule.strategy)
        self.rules.best_offset = self.machine_clock.offset
        self.last_deed = START
        self._accept()

    # The hub's people

    @property
    def utc(self) -> float:
        return self.instant + self.machine_clock.offset

    @property
    def now(self) -> Now:
        """What the hub reads."""
        return self.clock.now()

    def _accept(self) -> None:
        self.row = model.accept(
            number=model.UpdateId(1),
            device=PEER,
            image=self.image.sha256,
            image_type=self.image.header.made_for,
            file_version=NEW,
            activation=self.rules.allowed,
            origin="test",
            version_before=OLD,
            now_utc=self.now.utc,
            lifetime_s=self.policies[0].lifetime_s,
        )
        self.machine = UpdateMachine(*self.policies)
        self.carry_out(self.machine.client_known(PEER, self.client_class, self.now), asked=True)
        self.hub(Accepted(self.row))

    def order(self, deed: Deed) -> None:
        """An order that comes too late is refused, and changes nothing."""
        if self.machine is None or not self.row.active:
            return
        if deed.do == "at" and not self.now.trusted:
            return  # nobody is let to
        whole = self.device.has_everything() or self.air.seen["last block"] > 0
        if deed.do == "cancel":
            try:
                self.hub(About(PEER, model.Cancelled()))
            except RefusedError:
                return
            self.rules.cancelled_whole = whole
            return
        before = self.rules.allowed, self.rules.best_offset, self.rules.whole_at_order
        self.rules.allowed = activation(deed.do, self.utc + deed.s, deed.strategy)
        self.rules.best_offset = self.machine_clock.offset if self.now.trusted else float("-inf")
        self.ordering, self.rules.whole_at_order = True, whole
        try:
            self.hub(About(PEER, model.ActivationOrdered(self.rules.allowed)))
        except RefusedError:
            self.rules.allowed, self.rules.best_offset, self.rules.whole_at_order = before
        self.ordering = False

    # The hub

    def hub(self, event: object) -> None:
        assert self.machine is not None
        asked = isinstance(event, FrameReceived)
        self.carry_out(self.machine.handle(event, self.now), asked=asked or isinstance(event, About))

    def restart(self) -> None:
        self.back_at, self.dies_after = None, None
        self.machine = UpdateMachine(*self.policies)
        self.clock = WatchedClock(self.machine_clock, self.clock_record)
        self.rules.sent_unasked.clear()
        self.carry_out(self.machine.client_known(PEER, self.client_class, self.now), asked=True)
        self.machine.images_known(PEER, self.image_types)
        self.carry_out(self.machine.restore([(self.row, self.image)], self.now), asked=True)
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        """What a running hub does several times a second."""
        if self.machine is None:
            return
        now = self.now
        for step in self.clock.take_steps():
            self._write(self.machine.clock_stepped(step.before, step.after, now))
        self.clock_record = self.clock.record()
        if now.trusted:
            self.rules.best_offset = max(self.rules.best_offset, self.machine_clock.offset)

    def die(self, down_s: float) -> None:
        self.machine, self.dies_after, self.back_at = None, None, self.instant + down_s
        self.air.forget("fate")
        self.rules.trouble(self.back_at)

    def carry_out(self, effects: Iterable[object], *, asked: bool) -> None:
        """What a shell does: one transaction, then message by message; the hub may die before each of them."""
        effects = tuple(effects)
        self._write(effects)
        for effect in effects:
            if self.machine is None:
                return
            if isinstance(effect, LoadImage):
                self.hub(ImageReady(effect.update, self.image, endpoint=3))
            elif isinstance(effect, Send):
                if self.dies_after is not None:
                    self.dies_after -= 1
                    if self.dies_after < 0:
                        self.die(0.0)
                        return
                self.rules.send(effect, self.instant, asked=asked)
                self.fly("device", effect.payload, effect.token)

    def _write(self, effects: tuple[object, ...]) -> None:
        self.rules.written_first(effects)
        before = self.row
        for effect in effects:
            match effect:
                case Persist(update):
                    self.row = update
                    record = update.record
                    if isinstance(record, model.TransferRecord):
                        assert model.TransferRecord.from_json(record.to_json()) == record
                case VersionSeen(seen=seen) if seen.image_type is not None:
                    self.image_types.add(seen.image_type)
                case RaiseTransferAlert():
                    self.rules.alert(effect)
                case Alarm(kind=AlarmKind.HOLD_LIMIT):
                    self.rules.warn(of_start=self.ordering and self.air.seen["last block"] > 0)
                case Happened(old, update, event):
                    self.rules.step(old, update, event, self.row)
        assert self.machine is not None
        if self.machine.for_device(PEER) not in (self.row, None):
            raise ViolationError("the row is not what the machine knows")
        if self.row is not before and not self.row.active and before.active:
            self.rules.end(self.row, self.device.version, self.instant)

    # The air

    def fly(self, to: str, payload: bytes, token: Token | None = None) -> None:
        """A frame leaves; what is scheduled for the n-th of its kind happens."""
        kind = self.air.send(to, payload, self.instant, token, reachable=to == "hub" or self.device.powered)
        if kind == "last block":
            self.rules.last_block(self.client_class, self.instant)
        self._trigger(kind, self.air.seen[kind])

    def _trigger(self, kind: str, n: int) -> None:
        for number, deed in enumerate(self.deeds):
            if (deed.on, deed.n) == (kind, n) and deed.do not in MESSAGE_DEEDS:
                self.planned.append((self.instant + deed.after_s, number, deed))
                self.planned.sort(key=lambda item: item[:2])

    # The device

    def _boot(self) -> None:
        device, ran_before = self.device, self.device.version
        if not device.boot(self.instant):
            return
        if device.version != ran_before:
            self.rules.ran.append(device.version)
            if device.version == NEW and not device.starts_new:
                self._starts_new(by_itself=False)
        device.begin(self.instant)

    def _starts_new(self, *, by_itself: bool) -> None:
        self.rules.may_start(self.device, self.client_class, self.instant, by_itself=by_itself)

    def _join(self) -> None:
        device = self.device
        device.join_at = None
        if device.settings.personality.has_time and self.machine is not None and self.now.trusted:
            device.clock.set(to_zigbee_time(self.now.utc), self.instant)
        if self.machine is not None:
            self.hub(About(PEER, model.DeviceRejoined()))
        outcome = device.firmware.banks.outcome()
        if outcome is not None and not device.told_outcome:
            report = model.ActivationReported(outcome.success, outcome.file_version if outcome.success else NEW)
            self.air.forget("report")
            self.air.messages.append(Message(self.instant + 1.0, "report", report=report))
        self.device_does(device.client.start(self.instant))

    def cut(self, off_s: float) -> None:
        self.rules.was_cut = self.rules.was_cut or self.device.has_everything()
        self.device.cut(self.instant + max(off_s, REBOOT_S))
        self.air.forget("device", "report")
        self.rules.unheard_end = None

    def device_does(self, effects: Iterable[object]) -> None:
        device = self.device
        for effect in effects:
            match effect:
                case cluster.Send(frame=frame):
                    self._device_sends(frame.to_bytes())
                case cluster.Discover():
                    found = None if self.machine is None or self.air.silent(self.instant) else HUB_ENDPOINT
                    self.device_does(device.client.found(found, self.instant))
                case cluster.Restart():
                    device.told_outcome = False
                    self.cut(REBOOT_S)
                    return
                case events.Activating(by_itself=by_itself):
                    self._starts_new(by_itself=by_itself)
                    device.starts_new = True

    def _device_sends(self, payload: bytes) -> None:
        self.rules.request(self.row, self.instant)
        if kind_of(payload, "hub") == "end" and self.rules.unheard_end is None:
            self.rules.unheard_end = self.instant
        self.fly("hub", payload)

    def _device_hears(self, payload: bytes) -> None:
        if not self.device.joined:
            return
        if kind_of(payload, "device") in ("hold", "time"):
            self.rules.unheard_end = None
        answer, effects = self.device.hear(payload, self.instant)
        if answer is not None:
            self.fly("hub", answer)
        self.device_does(effects)

    # Time

    def next_at(self) -> float | None:
        """When something happens next."""
        times = [message.due for message in self.air.messages]
        times += [at for at in (self.device.due(), self.back_at) if at is not None]
        if self.planned:
            times.append(self.planned[0][0])
        if self.machine is not None and (deadline := self.machine.deadline()) is not None:
            times.append(deadline)
        return max(min(times), self.instant) if times else None

    def step(self) -> None:
        """Have the one thing happen that is next. Raises ViolationError."""
        at = self.next_at()
        assert at is not None
        self.still = self.still + 1 if at == self.instant else 0
        if self.still > 100:
            raise ViolationError("something stays due")
        self.instant = self.machine_clock.seconds = at
        self._look_at_clock()
        self.steps += 1
        self._one(at)
        self._trigger("step", self.steps)

    still = 0

    def _one(self, at: float) -> None:
        if self.planned and self.planned[0][0] <= at:
            self.do(self.planned.pop(0)[2])
            return
        if self.back_at is not None and self.back_at <= at:
            self.restart()
            return
        if (message := self.air.arriving(at)) is not None:
            self._arrives(message)
            return
        device = self.device
        if device.boot_at is not None and device.boot_at <= at:
            self._boot()
        elif device.join_at is not None and device.join_at <= at:
            self._join()
        elif (due := device.due()) is not None and due <= at:
            self.device_does(device.client.handle_deadline(at))
        elif self.machine is not None:
            self.carry_out(self.machine.handle_deadline(self.now), asked=False)

    def _arrives(self, message: Message) -> None:
        match message.to:
            case "device":
                self._device_hears(message.payload)
            case "hub" if self.machine is not None:
                self.hub(FrameReceived(PEER, 3, message.payload))
            case "fate" if self.machine is not None and message.token is not None:
                self.hub(Delivered(PEER, message.token, message.delivered))
            case "report" if message.report is not None:
                if self.machine is None or self.air.silent(self.instant):
                    self.air.messages.append(replace(message, due=self.instant + REPORT_AGAIN_S))
                else:
                    self.device.told_outcome = True
                    self.hub(About(PEER, message.report))

    def do(self, deed: Deed) -> None:
        self.last_deed = self.instant
        match deed.do:
            case "cut":
                self.cut(deed.s)
            case "rejoin" if self.device.joined:
                self.device.client.stop()
                self.device.join_at = self.instant + 1.0
                self.rules.unheard_end = None
            case "mute":
                self.device.mute = int(deed.s)
            case "die":
                self.die(deed.s)
            case "die after":
                self.dies_after = int(deed.s)
            case "clock":
                self.machine_clock.offset += deed.s
                self._look_at_clock()
            case "trust":
                self.clock.confirm()
            case "silence":
                self.air.fall_silent(self.instant + deed.s)
            case "drop":
                self.air.drop(self.instant)
            case "other type" if self.device.joined:
                self.fly("hub", self.device.other_query(runs=int(deed.s)))
            case _ if deed.do in ORDERS:
                self.order(deed)

    def over(self) -> bool:
        """The update has ended, and the device has nothing that it could start, or waits for a word that nobody says."""
        if self.row.active:
            return False
        idle = not self.air.messages and self.device.powered and not self.device.has_everything()
        return idle or self.next_at() is None

    def matters(self) -> tuple[object, ...]:
        """What the rest of the run depends on, apart from the time."""
        return (
            self.planned,
            self.air.messages,
            self.air.silent_until,
            self.machine_clock.offset - (START_UTC - START),
            self.clock,
            (self.row, self.clock_record, self.image_types) if self.machine is None else None,
            self.air.seen["last block"] > 0,
            self.device,
            self.machine,
            self.back_at,
            self.dies_after,
            self.rules.matters(self.machine_clock.offset),
        )

    def pass_time(self, seconds: float) -> None:
        end = self.instant + seconds
        while (at := self.next_at()) is not None and at <= end:
            self.step()
        self.instant = self.machine_clock.seconds = end

    def run(self) -> None:
        """The whole schedule, then a calm that lets the update end. Raises ViolationError."""
        last = max((deed.after_s for deed in self.schedule.deeds if deed.on == "start"), default=0.0)
        self.pass_time(max(last, self.schedule.at_s) + 1.0)
        while self.row.active and self.instant < self.last_deed + CALM_S:
            self.pass_time(QUIET_S)
        if self.row.active:
            self.order(Deed("now"))
        while self.row.active and self.instant < START + self.schedule.at_s + self.schedule.lifetime_s + DAY_S:
            self.pass_time(QUIET_S)
        if self.row.active:
            raise ViolationError(f"it never ends: {self.row.state} {self.row.record}")
        self.pass_time(QUIET_S)
        self.rules.calm(self.row, self.device.version)
