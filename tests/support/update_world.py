"""One update in virtual time: the hub's whole update core, an emulated OTA client with its flash, the air between them.

A `Schedule` says what is ordered and what goes wrong, and when; it is data, and a run depends on nothing else. What must
hold is asked at every step: a `ViolationError` says what did not.

- *Never early*: the device starts the new image only when its order allows that, by the hub's clock. Who cannot be kept
  from it (nobody heard its Upgrade End; its class waits no longer; a reset applies the image) is excused, and where that
  is known when the order is given, only after a warning.
- *Never false*: *activated* only if the device ran that version, *reverted* only if it was told, and ran another.
- One transfer alert for each update; rows are written before they are spoken of; nobody floods anybody; every update ends.

Not here: the store and the radio (the hub's own tests have them), and more than one device.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

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
from devices.nodes.firmware import Firmware
from devices.nodes.flash import Flash
from devices.nodes.ota_client import OtaClient
from devices.nodes.personalities import PERSONALITIES
from devices.nodes.settings import Faults
from devices.stack.interface import ApsIndication
from devices.wire import ota, zcl
from devices.wire.zcl import General, Status, ZclFrame
from tests.support.model_hub import DEVICE, HARDWARE, HUB_ENDPOINT, IMAGE_TYPE, MANUFACTURER, NEW, OLD, image, settings

PEER = Eui64(DEVICE)
START = 10_000_000.0  # the instant at which a schedule begins; far from every duration
START_UTC = 1_800_000_000.0
DAY_S = 86_400.0
AIR_S = 0.01
REBOOT_S = 1.0
JOIN_S = 0.1
NOT_DELIVERED_S = 2.0  # until the radio gives a message up
REPORT_AGAIN_S = 10.0
ANSWER_LIMIT_S = 3.0  # an Upgrade End that goes unanswered for longer may be acted upon
QUIET_S = 900.0  # in which a finished update shows what it comes to
CALM_S = 6 * 3600.0  # after the last thing of a schedule: nothing goes wrong any more
EXACT_S = 0.01
FLOOD_WINDOW_S = 60.0

FAULTS = {
    "": Faults(),
    "does not boot": Faults(firmware_does_not_boot=True),
    "reverts": Faults(reverts_after_activation=True),
}
_DECIDED = (model.TransferState.HELD, model.TransferState.MISSED, model.TransferState.PARKED)


class ViolationError(AssertionError):
    """What must hold did not."""


@dataclass(frozen=True, slots=True)
class Deed:
    """`do` it `after_s` after the `n`-th `on` of the run: "start", "step", or a kind of message (`kind_of`).

    To a message itself: "lose", "unack" (it arrives, and the radio says that it did not), "twice", "late" by `s`.
    To the device: "cut" (off for `s`), "rejoin", "mute" (the next `s` read-backs say 0xFFFFFFFF), "other type" (it also
    asks for its other image, of which it runs version `s`). To the hub: "die" (down for `s`), "die after" (at the
    `s`-th message that it is about to send), "clock" (set by `s`). To both: "silence" (the air loses all for `s`), "drop"
    (the air loses the next frame).
    By people: "now", "at" (in `s` from then), "hold", "cancel"; "trust" (the clock is right).
    """

    do: str
    on: str = "start"
    n: int = 1
    after_s: float = 0.0
    s: float = 0.0
    strategy: str = ""


MESSAGE_DEEDS = ("lose", "unack", "twice", "late")
ORDERS = ("now", "at", "hold", "cancel")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`order` is "now", "at" (`at_s` from the start) or "hold"; `known` tells the hub which class the client is of."""

    personality: str
    order: str = "now"
    at_s: float = 0.0
    strategy: str = "park"
    known: bool = False
    fault: str = ""
    body_bytes: int = 100
    lifetime_s: float = 2 * DAY_S
    deeds: tuple[Deed, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """Under way. `to` is "hub" or "device" for frames, "fate" for what became of one, "report" for the device's CS09."""

    due: float
    to: str
    payload: bytes = b""
    token: Token | None = None
    delivered: bool = True
    report: model.ActivationReported | None = None


def kind_of(payload: bytes, to: str) -> str:
    """What a frame is, in the words that schedules use."""
    control, command = payload[0], payload[2]
    if not control & 0x01:  # ZCL8 2.4.1.1: a command of all clusters
        return {0x00: "read", 0x01: "read answer"}.get(command, "default response")
    match to, command:
        case "hub", ota.Command.QUERY_NEXT_IMAGE_REQUEST:
            return "query"
        case "hub", ota.Command.UPGRADE_END_REQUEST:
            return "end" if payload[3] == Status.SUCCESS else "failure"
        case "hub", _:
            return "block request"
        case _, ota.Command.IMAGE_NOTIFY:
            return "notify"
        case _, ota.Command.QUERY_NEXT_IMAGE_RESPONSE:
            return "offer" if payload[3] == Status.SUCCESS else "no image"
        case _, ota.Command.UPGRADE_END_RESPONSE:
            return "hold" if payload[15:19] == b"\xff\xff\xff\xff" else "time"
        case _, ota.Command.IMAGE_BLOCK_RESPONSE:
            return {Status.SUCCESS: "block", Status.WAIT_FOR_DATA: "wait"}.get(payload[3], "refusal")
    return "other"


class Middle(Random):
    """A die that always shows the middle: what is drawn is drawn by the schedule."""

    def random(self) -> float:
        return 0.5


@dataclass
class Device:
    """An OTA client with its power, its flash and its radio."""

    settings: object
    powered: bool = False
    boot_at: float | None = None
    join_at: float | None = None
    client: OtaClient | None = None
    version: int = OLD
    told_outcome: bool = True
    starts_new: bool = False  # it was asked whether it may; a bare reset was not
    mute: int = 0

    def __post_init__(self) -> None:
        self.flash = Flash(sectors=6, sector_bytes=2048)
        self.firmware = Firmware(self.flash, self.settings)
        self.clock = cluster.Clock(0)

    def due(self) -> float | None:
        client_due = self.client.deadline if self.client is not None and self.powered else None
        return min((each for each in (self.boot_at, self.join_at, client_due) if each is not None), default=None)

    @staticmethod
    def sequence() -> int:
        """Nobody looks at them here: all are 0, so that equal states look equal."""
        return 0

    def has_everything(self) -> bool:
        if self.client is None:
            return False
        banks = self.firmware.banks
        return banks.download is not None and banks.offset == banks.download.size_bytes


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
        self.seen: Counter[str] = Counter()
        self.deeds = [deed for deed in schedule.deeds if deed.on != "start"]
        self.planned = sorted(
            ((START + deed.after_s, number, deed) for number, deed in enumerate(schedule.deeds) if deed.on == "start"),
            key=lambda item: item[:2],
        )
        self.air: list[Message] = []
        self.silent_until = START
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
        self.alerts = 0
        self.image_types = set[ImageType]()  # of which the device spoke, as the device log has it
        self.warned = False  # that it may activate the image, which it has, before its time
        self.warned_of_restart = self.was_cut = False
        self.ordering = self.whole_at_order = False
        self.sent_unasked: dict[Token, float] = {}
        # What is known of the run
        self.allowed = self._activation(schedule.order, schedule.at_s, schedule.strategy)
        self.best_offset = self.machine_clock.offset  # the furthest that a trusted clock stood since the last order
        self.cancelled_whole: bool | None = None  # whether the device had every byte when it was cancelled
        self.ran: list[int] = [OLD]
        self.unheard_end: float | None = None  # when the Upgrade End was sent that nobody has answered yet
        self.requests: list[float] = []
        self.troubled_at = START - DAY_S
        self.last_deed = START
        self._accept()

    # The hub's people

    def _activation(self, order: str, at_s: float, strategy: str) -> model.Activation:
        if order == "now":
            return model.ActivateNow()
        wanted = model.Strategy(strategy or "park")
        if order == "hold":
            return model.ActivateHold(wanted)
        return model.ActivateAt(UtcSeconds(self.utc + at_s), wanted)

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
            activation=self.allowed,
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
        whole = self.device.has_everything() or self.seen["last block"] > 0
        if deed.do == "cancel":
            try:
                self.hub(About(PEER, model.Cancelled()))
            except RefusedError:
                return
            self.cancelled_whole = whole
            return
        before = self.allowed, self.best_offset, self.whole_at_order
        self.allowed = self._activation(deed.do, deed.s, deed.strategy)
        self.best_offset = self.machine_clock.offset if self.now.trusted else float("-inf")
        self.ordering, self.whole_at_order = True, whole
        try:
            self.hub(About(PEER, model.ActivationOrdered(self.allowed)))
        except RefusedError:
            self.allowed, self.best_offset, self.whole_at_order = before
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
        self.sent_unasked.clear()
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
            self.best_offset = max(self.best_offset, self.machine_clock.offset)

    def die(self, down_s: float) -> None:
        self.machine, self.dies_after, self.back_at = None, None, self.instant + down_s
        self.air = [message for message in self.air if message.to != "fate"]
        self.troubled_at = max(self.troubled_at, self.back_at)

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
                self._check_send(effect, asked=asked)
                self.fly("device", effect.payload, effect.token if effect.acknowledged else None)

    def _write(self, effects: tuple[object, ...]) -> None:
        kinds = [isinstance(effect, Persist) for effect in effects]
        if kinds != sorted(kinds, reverse=True) or sum(kinds) > 1:
            raise ViolationError("a row is written once, and first")
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
                case RaiseTransferAlert(update, outcome):
                    self.alerts += 1
                    if self.alerts > 1 or update.transfer is not outcome:
                        raise ViolationError(f"transfer alert {self.alerts}: {outcome}")
                case Alarm(kind=AlarmKind.HOLD_LIMIT):
                    self.warned = self.warned or (self.ordering and self.seen["last block"] > 0)
                    self.warned_of_restart = True
                case Happened(old, update, event):
                    self._check_step(old, update, event)
        assert self.machine is not None
        if self.machine.for_device(PEER) not in (self.row, None):
            raise ViolationError("the row is not what the machine knows")
        if self.row is not before and not self.row.active and before.active:
            self._check_end()

    def _check_step(self, old: model.Update, update: model.Update, event: object) -> None:
        if not old.active and (old.state, old.reason, old.ended) != (update.state, update.reason, update.ended):
            raise ViolationError(f"an end changed: {old.state} to {update.state}")
        if isinstance(event, model.ActivationGiven) and old.active:
            record = self.row.record
            if not isinstance(record, model.TransferRecord) or record.committed_utc != event.at_utc:
                raise ViolationError("a time was given that the row does not know")

    def _check_end(self) -> None:
        row = self.row
        if row.transfer is None or self.alerts != 1:
            raise ViolationError(f"{row.state} with {self.alerts} transfer alerts")
        if row.state is model.UpdateState.ACTIVATED and NEW not in self.ran:
            raise ViolationError("activated, and the device never ran the new version")
        if row.state is model.UpdateState.REVERTED and (self.device.version == NEW or row.report is None):
            raise ViolationError("reverted, and the device runs the new version or claimed nothing")
        lived_s = self.instant - START
        # What is left of a lifetime stays when another activation is ordered, and counts from its time on.
        if row.state is model.UpdateState.EXPIRED and lived_s < self.schedule.lifetime_s - 1.0:
            raise ViolationError(f"expired after {lived_s:.0f} s")
        if row.state is model.UpdateState.FAILED and not row.reason:
            raise ViolationError("failed for no reason")

    def _check_send(self, send: Send, *, asked: bool) -> None:
        if asked or send.token not in (Token.COMMIT, Token.HOLD, Token.NOTIFY):
            return
        last = self.sent_unasked.get(send.token)
        self.sent_unasked[send.token] = self.instant
        if last is not None and self.instant - last < 1.0:
            raise ViolationError(f"two of {send.token.value} within {self.instant - last:.3f} s, and nobody asked")

    # The air

    def fly(self, to: str, payload: bytes, token: Token | None = None) -> None:
        """A frame leaves; what is scheduled for the n-th of its kind happens to it."""
        kind = kind_of(payload, to)
        if kind == "block" and payload[12:16] == self._last_offset(payload):
            kind = "last block"
        self.seen[kind] += 1
        fates = [deed.do for deed in self.deeds if (deed.on, deed.n) == (kind, self.seen[kind])]
        if kind == "last block":
            self._check_last_block()
        late = sum(deed.s for deed in self.deeds if (deed.on, deed.n, deed.do) == (kind, self.seen[kind], "late"))
        self._trigger(kind, self.seen[kind])
        lost = "lose" in fates or self.instant < self.silent_until
        if {"lose", "late", "unack"} & {*fates} or lost:
            self.troubled_at = max(self.troubled_at, self.instant + late)
        if to == "device" and not lost and not self.device.powered:
            lost = True
        if not lost:
            for _ in range(2 if "twice" in fates else 1):
                self.air.append(Message(self.instant + AIR_S + late, to, payload))
        if token is not None:
            good = not lost and "unack" not in fates
            due = self.instant + (3 * AIR_S if good else NOT_DELIVERED_S)
            self.air.append(Message(due, "fate", token=token, delivered=good))
        elif to == "device":
            self.air.append(Message(self.instant, "fate", token=Token.ANSWER))

    def _last_offset(self, payload: bytes) -> bytes:
        return (len(self.image.content) - payload[16]).to_bytes(4, "little")

    def _trigger(self, kind: str, n: int) -> None:
        for number, deed in enumerate(self.deeds):
            if (deed.on, deed.n) == (kind, n) and deed.do not in MESSAGE_DEEDS:
                self.planned.append((self.instant + deed.after_s, number, deed))
                self.planned.sort(key=lambda item: item[:2])

    # The device

    def _boot(self) -> None:
        device = self.device
        device.boot_at = None
        booted = device.firmware.boot()
        if booted is None:
            device.boot_at = self.instant + REBOOT_S
            return
        device.powered = True
        if booted.file_version != device.version:
            device.version = booted.file_version
            self.ran.append(device.version)
            if device.version == NEW and not device.starts_new:
                self._check_activation(by_itself=False)
        device.starts_new = False
        device.clock = cluster.Clock(0)
        device.client = OtaClient(
            device.settings, device.firmware.banks, Middle(), clock=device.clock, next_sequence=device.sequence
        )
        device.join_at = self.instant + JOIN_S

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
            self.air = [message for message in self.air if message.to != "report"]
            self.air.append(Message(self.instant + 1.0, "report", report=report))
        self.device_does(device.client.start(self.instant))

    def cut(self, off_s: float) -> None:
        device = self.device
        self.was_cut = self.was_cut or device.has_everything()
        device.powered, device.client, device.join_at = False, None, None
        device.boot_at = self.instant + max(off_s, REBOOT_S)
        self.air = [message for message in self.air if message.to not in ("device", "report")]
        self.unheard_end = None

    def device_does(self, effects: Iterable[object]) -> None:
        device = self.device
        for effect in effects:
            match effect:
                case cluster.Send(frame=frame):
                    self._device_sends(frame.to_bytes())
                case cluster.Discover():
                    found = None if self.machine is None or self.instant < self.silent_until else HUB_ENDPOINT
                    self.device_does(device.client.found(found, self.instant))
                case cluster.Restart():
                    device.told_outcome = False
                    self.cut(REBOOT_S)
                    return
                case events.Activating(by_itself=by_itself):
                    self._check_activation(by_itself=by_itself)
                    device.starts_new = True

    def _device_sends(self, payload: bytes) -> None:
        kind = kind_of(payload, "hub")
        record = self.row.record
        if isinstance(record, model.TransferRecord) and record.state in _DECIDED and self.row.active:
            self.requests = [at for at in self.requests if at > self.instant - FLOOD_WINDOW_S]
            self.requests.append(self.instant)
            if len(self.requests) > FLOOD_WINDOW_S + 5:
                raise ViolationError(f"{len(self.requests)} requests in {FLOOD_WINDOW_S:.0f} s while {record.state}")
        if kind == "end" and self.unheard_end is None:
            self.unheard_end = self.instant
        self.fly("hub", payload)

    def _device_hears(self, payload: bytes) -> None:
        device = self.device
        if not device.powered or device.client is None or device.join_at is not None:
            return
        frame = ZclFrame.from_bytes(payload)
        if frame.cluster_specific:
            if frame.command == ota.Command.UPGRADE_END_RESPONSE:
                self.unheard_end = None
            indication = ApsIndication(0x0000, 0xC0FFEE, 0x1234, 0x0109, ota.CLUSTER, HUB_ENDPOINT, 3, payload, 0, True)
            status, effects = device.client.receive(frame, indication, self.instant)
            if status is not None and (status != Status.SUCCESS or not frame.disable_default_response):
                self.fly("hub", frame.default_response(status).to_bytes())
            self.device_does(effects)
        elif frame.command == General.DEFAULT_RESPONSE:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            self.device_does(device.client.receive_default_response(frame.sequence, response, self.instant))
        elif frame.command == General.READ_ATTRIBUTES:
            self._answer_read(frame)

    def _answer_read(self, frame: ZclFrame) -> None:
        known = {each.identifier: each for each in self.device.client.attributes()}
        if self.device.mute:
            self.device.mute -= 1
            version = ota.AttributeId.CURRENT_FILE_VERSION
            known[version] = replace(known[version], value=0xFFFF_FFFF)
        wanted = zcl.parse_read_attributes(frame.payload)
        records = b"".join(zcl.attribute_record(each, known.get(each)) for each in wanted)
        answer = ZclFrame(
            frame.sequence,
            General.READ_ATTRIBUTES_RESPONSE,
            records,
            cluster_specific=False,
            from_server=False,
            disable_default_response=True,
        )
        self.fly("hub", answer.to_bytes())

    def _check_activation(self, *, by_itself: bool) -> None:
        """The device starts the new image, or has started it."""
        if self.device.has_everything() and self.device.firmware.banks.downloaded() != self.image.content:
            raise ViolationError("what the device starts is not the image")
        if self.cancelled_whole is not None:
            if not self.cancelled_whole:
                raise ViolationError("activated after a cancel that came before it had every byte")
            return
        early_s = self._early_s()
        if early_s <= EXACT_S or self.warned or self._unheard():
            return
        if self.was_cut and early_s <= self.client_class.commit_window_s + EXACT_S and self.warned_of_restart:
            return
        raise ViolationError(f"activated {early_s:.1f} s early{', by itself' if by_itself else ''}")

    def _check_last_block(self) -> None:
        """Who has every byte may start by itself: who is parked gets the last only when the time is near."""
        parked = getattr(self.allowed, "strategy", None) is model.Strategy.PARK and not self.whole_at_order
        if parked and self.cancelled_whole is None and self._early_s() > self.client_class.commit_window_s + EXACT_S:
            raise ViolationError(f"the last block went out {self._early_s():.1f} s early")

    def _early_s(self) -> float:
        match self.allowed:
            case model.ActivateAt(utc=utc):
                return utc - (self.instant + self.best_offset)
            case model.ActivateHold():
                return float("inf")
        return 0.0

    def _unheard(self) -> bool:
        """Its Upgrade End went unanswered because of the air, or because there was no hub."""
        return self.unheard_end is not None and self.troubled_at >= self.unheard_end - EXACT_S

    # Time

    def next_at(self) -> float | None:
        """When something happens next."""
        times = [message.due for message in self.air]
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
        for index, message in enumerate(self.air):
            if message.due <= at:
                del self.air[index]
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
                if self.machine is None or self.instant < self.silent_until:
                    self.air.append(replace(message, due=self.instant + REPORT_AGAIN_S))
                else:
                    self.device.told_outcome = True
                    self.hub(About(PEER, message.report))

    def do(self, deed: Deed) -> None:
        self.last_deed = self.instant
        match deed.do:
            case "cut":
                self.cut(deed.s)
            case "rejoin" if self.device.powered and self.device.join_at is None:
                self.device.client.stop()
                self.device.join_at = self.instant + 1.0
                self.unheard_end = None
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
                self.silent_until = self.instant + deed.s
                self.troubled_at = max(self.troubled_at, self.silent_until)
                self.air = [message for message in self.air if message.to not in ("hub", "device")]
            case "drop":
                self._drop()
            case "other type" if self.device.powered and self.device.join_at is None:
                other = ota.ImageId(MANUFACTURER, IMAGE_TYPE + 1, int(deed.s))
                request = ota.QueryNextImageRequest(other, HARDWARE)
                self.fly("hub", ZclFrame(0, ota.Command.QUERY_NEXT_IMAGE_REQUEST, request.to_bytes()).to_bytes())
            case _ if deed.do in ORDERS:
                self.order(deed)

    def _drop(self) -> None:
        frame = next((index for index, message in enumerate(self.air) if message.payload), None)
        if frame is None:
            return
        self.troubled_at = max(self.troubled_at, self.instant)
        fate = self.air[frame + 1] if frame + 1 < len(self.air) else None
        if fate is not None and fate.to == "fate" and self.air[frame].to == "device":
            self.air[frame + 1] = replace(fate, due=self.instant + NOT_DELIVERED_S, delivered=False)
        del self.air[frame]

    def over(self) -> bool:
        """The update has ended, and the device has nothing that it could start, or waits for a word that nobody says."""
        if self.row.active:
            return False
        idle = not self.air and self.device.powered and not self.device.has_everything()
        return idle or self.next_at() is None

    def matters(self) -> tuple[object, ...]:
        """What the rest of the run depends on, apart from the time."""
        ahead_s = self.best_offset - self.machine_clock.offset
        known = (
            self.allowed,
            ahead_s,
            self.cancelled_whole,
            self.warned,
            self.warned_of_restart,
            self.was_cut,
            self.alerts,
            self.whole_at_order,
        )
        doubts = (self.unheard_end, self.troubled_at, self.sent_unasked, len(self.requests), NEW in self.ran)
        return (
            self.planned,
            self.air,
            self.silent_until,
            self.machine_clock.offset - (START_UTC - START),
            self.clock,
            self.clock_record if self.machine is None else None,
            self.device,
            self.machine,
            self.back_at,
            self.dies_after,
            known,
            doubts,
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
        self._check_calm()

    def _check_calm(self) -> None:
        """Where nothing went wrong, the device runs the new version, unless it was cancelled."""
        row = self.row
        if row.state is model.UpdateState.ACTIVATED and not self.schedule.fault and self.device.version != NEW:
            raise ViolationError("activated, and the device runs another version")
        orderly = all(deed.do in ORDERS for deed in self.schedule.deeds) and not self.schedule.fault
        wanted = model.UpdateState.ACTIVATED if self.cancelled_whole is None else model.UpdateState.CANCELLED
        if row.state is model.UpdateState.EXPIRED and self.schedule.lifetime_s < DAY_S:
            return  # nobody released it in time
        if orderly and row.state is not wanted:
            raise ViolationError(f"nothing went wrong, and it {row.state}: {row.reason}")
