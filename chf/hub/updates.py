"""The handler of the OTA Upgrade cluster, and the shell of the updates: carries out what their core wants done.

Nothing about updates is decided here (`chf.update.machine` does): this file knows rows, trace, images and device log.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from chf.clock import Instant, Now
from chf.errors import ChfError, DamagedRowError, MalformedFrameError, StoreCorruptError, UsageError
from chf.eui64 import Eui64
from chf.hub.batch import Batch, DeviceChange, append, together
from chf.hub.clients import OtaClients
from chf.hub.gate import reply
from chf.hub.handler import Handler, HubContext
from chf.image.header import ImageType
from chf.image.image import FirmwareImage
from chf.radio.interface import Delivery, Inbound, NetworkInfo, Outbound, Urgency
from chf.store import progress
from chf.store.device_log import DeviceEntry
from chf.store.progress import TransferProgress
from chf.store.rows import Unreadable
from chf.store.store import Transaction
from chf.trace import Event, Kind
from chf.trust import ClockStep
from chf.update import effects as effect
from chf.update.clients import ClientClass
from chf.update.effects import Effect, Effects, Token
from chf.update.eligibility import DeviceImage
from chf.update.machine import About, Accepted, Delivered, FrameReceived, ImageReady, ImageUnreadable, UpdateMachine
from chf.update.model import (
    ActivateByCommand,
    ActivationGiven,
    DeviceRejoined,
    TransferEnded,
    TransferRecord,
    Update,
    UpdateEvent,
    UpdateId,
    UpdateState,
)
from chf.update.versions import MOST_IMAGE_TYPES
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, FrameType, Status

_DECISIONS: Final = frozenset({Token.HOLD, Token.COMMIT})
"""What such a message says is in the store first, the message that repeats it too."""

_URGENCY: Final = {urgency: Urgency[urgency.name] for urgency in effect.Urgency}


class Updates(Handler):
    def __init__(self, context: HubContext) -> None:
        self._machine = UpdateMachine(context.settings.updates, context.settings.ota)
        self._store, self._alerts, self._devices = context.store, context.alerts, context.devices
        self._images, self._clock, self._damage = context.images, context.clock, context.damage
        self._clients = OtaClients(context.devices, self._client_known)
        self._read_at_start: dict[str, FirmwareImage] = {}
        self._to_load: dict[UpdateId, effect.LoadImage] = {}
        self._progress: dict[Eui64, effect.Progress] = {}  # that is not written yet

    # From the store, at the start

    async def prepare(self) -> None:
        """Read the images of all transfers, so that they are taken up in one turn."""
        wanted = [update.image for update in self._store.updates.list(active_only=True)]
        self._read_at_start = await self._images.load_all(wanted)

    def started(self, network: NetworkInfo | None, now: Now) -> Batch:
        """Take up every update and its transfer where an earlier process left it."""
        del network
        self._clients.started(now)
        for entry in self._devices.all():
            self._images_known(entry)
        active, last = self._store.updates.list(active_only=True), self._store.updates.last_of_each_device()
        updates = sorted({update.id: update for update in (*active, *last)}.values(), key=lambda update: update.id)
        rows = [(update, self._image_of(update)) for update in updates]
        taken_up, alarms = self._batch(self._machine.restore(rows, now), now), Batch(now)
        self._damage.report((*active.unreadable, *last.unreadable), alarms)
        for update, image in rows:
            if update.active and update.record is not None and image is None:
                damage = "its record cannot be read"
                if isinstance(update.record, TransferRecord):
                    damage = f"its image {update.image} cannot be read"
                reason = f"the transfer cannot be taken up: {damage}"
                alarms.event(Kind.ALARM, {"reason": reason}, device=update.device, update=update.id)
        self._read_at_start = {}
        return together([taken_up, alarms], now)

    def _images_known(self, entry: DeviceEntry) -> None:
        self._machine.images_known(entry.eui64, (image.image_type for image in entry.images))

    def _image_of(self, update: Update) -> FirmwareImage | None:
        return self._read_at_start.get(update.image) if isinstance(update.record, TransferRecord) else None

    # From the radio

    def receive(self, message: Inbound, now: Now) -> Batch:
        self._devices.ota_client_at(message.source, message.source_endpoint)
        heard = FrameReceived(message.source, message.source_endpoint, message.payload)
        batch = self._batch(self._machine.handle(heard, now), now)
        answer = batch.messages[-1].payload if batch.messages else None
        if (noted := self._clients.hear(message.source, message.payload, answer, now)) is not None:
            batch.then(lambda: noted)  # the answer waits for none of it
        return batch

    def sent(self, message: Outbound, delivery: Delivery, now: Now) -> Batch:
        token = message.reference
        if not isinstance(token, Token):
            return Batch(now)
        fate = Delivered(message.destination, token, delivery is Delivery.DELIVERED)
        return self._batch(self._machine.handle(fate, now), now)

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        match change:
            case DeviceChange.ARRIVED:
                self._clients.arrived(device)
                return self._batch(self._machine.handle(About(device, DeviceRejoined()), now), now)
            case DeviceChange.FORGOTTEN:
                self._machine.images_known(device, ())
                return self._clients.begin_again(device, now)
            case DeviceChange.UNWRITTEN:
                if (entry := self._devices.get(device)) is not None:
                    self._images_known(entry)
                batch = self._clients.begin_again(device, now)
                batch.add(self._begin_again(device, now))
                return batch
            case DeviceChange.LEFT:
                return Batch(now)
            case _:
                assert_never(change)

    def _begin_again(self, device: Eui64, now: Now) -> Batch:
        batch, row = Batch(now), None
        try:
            row = self._store.updates.active_for(device)
        except DamagedRowError as error:
            self._damage.report([Unreadable.of(error)], batch)
        batch.add(self._batch(self._machine.begin_again(device, row, now), now))
        return batch

    # From time

    def deadline(self) -> Instant | None:
        return self._machine.deadline()

    def handle_deadline(self, now: Now) -> Batch:
        return self._batch(self._machine.handle_deadline(now), now)

    def clock_stepped(self, step: ClockStep, now: Now) -> tuple[Batch, ...]:
        """A batch for each update whose row moves with the wall clock."""
        return tuple(self._batch((moved,), now) for moved in self._machine.clock_stepped(step.before, step.after, now))

    # What is written now and then

    def unwritten(self, now: Now) -> Iterator[Batch]:
        """How far each transfer is, where that is not written yet."""
        for peer, moved in tuple(self._progress.items()):
            batch = Batch(now)
            batch.write(partial(_save_progress, moved, now), device=peer, durable=False)
            batch.then(partial(self._written, moved))
            yield batch

    def _written(self, moved: effect.Progress) -> None:
        if self._progress.get(moved.peer) is moved:
            del self._progress[moved.peer]

    # From people, and from the tunnels

    def add(self, batch: Batch, update: Update) -> None:
        """A new update: its row is among the batch's writes already."""
        batch.then(lambda: self._batch(self._machine.handle(Accepted(update), batch.now), batch.now))

    def tell(self, batch: Batch, device: Eui64, event: UpdateEvent) -> None:
        """Something happened to the device's update, or somebody wants something of it.

        Raises RefusedError where it is cancelled, or activated otherwise, too late.
        """
        batch.add(self._batch(self._machine.handle(About(device, event), batch.now), batch.now))

    def _client_known(self, device: Eui64, client: ClientClass, now: Now) -> Batch:
        return self._batch(self._machine.client_known(device, client, now), now)

    def set_client_class(self, batch: Batch, device: Eui64, name: str | None) -> None:
        """Somebody says of which class its OTA client is or, with None, leaves it to what the device shows."""
        batch.add(self._clients.set(device, name, batch.now))

    def for_device(self, device: Eui64) -> Update | None:
        """The device's active update, else the last one that ended, else None."""
        return self._machine.for_device(device)

    def has_offer(self, device: Eui64) -> bool:
        """An image is on offer that the device has not asked for."""
        update = self._machine.for_device(device)
        return update is not None and update.state is UpdateState.ANNOUNCED

    # What the core wants done

    def _batch(self, effects: Effects, now: Now) -> Batch:
        """One batch for each device: what the store will not write of one harms no other."""
        parts: dict[Eui64, Batch] = {}
        for wanted in effects:
            device = _device_of(wanted)
            if device not in parts:
                parts[device] = Batch(now)
            self._add(parts[device], wanted)
        return together(tuple(parts.values()), now) if parts else Batch(now)

    def _add(self, batch: Batch, wanted: Effect) -> None:
        match wanted:
            case effect.Send():
                batch.send(_outbound(wanted), ordered=wanted.token in _DECISIONS)
            case effect.Persist(update):
                batch.write(partial(_save, update), device=update.device)
            case effect.Happened(before, update):
                self._trace(batch, wanted)
                if update.state is UpdateState.ACTIVATED and before.active:
                    batch.add(self._clients.new_firmware(update.device, batch.now))
                    if update.superseded is not None:
                        self._drop_image(batch, update.device, update.superseded)
            case effect.RaiseTransferAlert():
                batch.write(partial(self._raise_transfer_alert, wanted, batch.now))
            case effect.Progress(peer=peer):
                self._progress[peer] = wanted
            case effect.VersionSeen():
                self._version_seen(batch, wanted)
            case effect.Alarm(peer, kind, text, number):
                batch.event(Kind.ALARM, {"reason": f"{kind.value}: {text}"}, device=peer, update=number)
            case effect.LoadImage():
                self._to_load[wanted.update] = wanted
                batch.start(self._load_images)
            case _:
                assert_never(wanted)

    def _trace(self, batch: Batch, happened: effect.Happened) -> None:
        before, update = happened.before, happened.update
        match happened.event:
            case TransferEnded(outcome, reason, blocks, offset_bytes):
                started = update.download_started
                fields: dict[str, str | int | float] = {
                    "outcome": outcome.value,
                    "reason": reason,
                    "blocks": blocks,
                    "bytes": offset_bytes,
                    "seconds": 0.0 if started is None else round(max(batch.now.utc - started, 0.0), 3),
                }
                batch.event(Kind.OTA_TRANSFER_ENDED, fields, device=update.device, update=update.id)
            case ActivationGiven(at_utc) if not isinstance(update.activation, ActivateByCommand):
                batch.event(Kind.OTA_ACTIVATION_GIVEN, {"at": at_utc}, device=update.device, update=update.id)
        if (before.state, before.reason) != (update.state, update.reason):
            states = {"from": before.state.value, "to": update.state.value, "reason": update.reason}
            batch.event(Kind.UPDATE_STATE, states, device=update.device, update=update.id)

    def _raise_transfer_alert(self, wanted: effect.RaiseTransferAlert, now: Now, tx: Transaction) -> Event:
        update = wanted.update
        alert = self._alerts.transfer_alert(tx, update, wanted.outcome, now.utc)
        return append(Event(now.utc, Kind.ALERT_RAISED, update.device, int(update.id), alert.as_fields()), tx)

    async def _load_images(self) -> Batch | None:
        """All that are wanted, so that many updates of one image start in one transaction, in a turn of its own."""
        wanted, self._to_load = self._to_load, {}
        images: dict[str, FirmwareImage | ChfError] = {}
        for sha256 in {load.image for load in wanted.values()}:
            try:
                images[sha256] = await self._images.load(sha256)
            except (StoreCorruptError, UsageError) as error:
                images[sha256] = error
        now = self._clock.now()  # nothing is waited for from here on: the rows below are those of now
        return (
            together([self._loaded(load, images[load.image], now) for load in wanted.values()], now) if wanted else None
        )

    def _loaded(self, wanted: effect.LoadImage, image: FirmwareImage | ChfError, now: Now) -> Batch:
        if isinstance(image, ChfError):
            batch = Batch(now)
            batch.event(Kind.IMAGE_CORRUPT, {"sha256": wanted.image}, device=wanted.peer, update=wanted.update)
            batch.add(self._batch(self._machine.handle(ImageUnreadable(wanted.update, str(image)), now), now))
            return batch
        endpoint, sleepy = self._devices.endpoint(wanted.peer), self._devices.is_gsme(wanted.peer)
        ready = ImageReady(wanted.update, image, endpoint, sleepy)
        return self._batch(self._machine.handle(ready, now), now)

    def _version_seen(self, batch: Batch, told: effect.VersionSeen) -> None:
        device, seen = told.peer, told.seen
        entry = self._devices.get(device)
        arrived = self._devices.take_arrival(device)
        if entry is None or seen.image_type is None:
            return
        known = entry.image(seen.image_type) or DeviceImage(seen.image_type, batch.now.utc)
        # Only a restart changes a version, or makes a device ask for an image that it was told to activate.
        changed = seen.file_version is not None and known.file_version not in (None, seen.file_version)
        if not arrived and (changed or (seen.queried and told.activating)):
            batch.changed(device, DeviceChange.ARRIVED)
        image = replace(
            known,
            file_version=known.file_version if seen.file_version is None else seen.file_version,
            hardware_version=known.hardware_version if seen.hardware_version is None else seen.hardware_version,
        )
        if image not in entry.images and (known in entry.images or len(entry.images) < MOST_IMAGE_TYPES):
            image = replace(image, since=batch.now.utc)
            batch.write(lambda tx: self._devices.save_image(tx, device, image), device=device, durable=False)
            batch.then(lambda: self._devices.saved(device))
            version = "unknown" if image.file_version is None else f"0x{image.file_version:08X}"
            named = {"file_version": version, "image_type": str(image.image_type)}
            batch.event(Kind.VERSION_OBSERVED, {**named, "by": "query" if seen.queried else "read"}, device=device)

    def _drop_image(self, batch: Batch, device: Eui64, image_type: ImageType) -> None:
        batch.write(lambda tx: tx.devices.drop_image(device, image_type), device=device, durable=False)
        batch.then(lambda: self._devices.saved(device))


def wait_answer(message: Inbound) -> Outbound | None:
    """The answer to an Upgrade End Request that needs no store and is right for every device: wait.

    None for any other message. A client that is not answered activates by itself within seconds.
    """
    try:
        frame = Frame.from_bytes(message.payload)
        is_for_server = (
            frame.frame_type is FrameType.CLUSTER and not frame.to_client and frame.manufacturer_code is None
        )
        request = zcl.parse_request(frame) if is_for_server and message.cluster == zcl.CLUSTER else None
    except MalformedFrameError:
        return None
    if not isinstance(request, zcl.UpgradeEndRequest) or request.status != Status.SUCCESS:
        return None
    ids = (request.manufacturer_code, request.image_type, request.file_version)
    body = zcl.UpgradeEndResponse(*ids, zcl.NO_CURRENT_TIME, zcl.WAIT_FOR_COMMAND)
    payload = zcl.command(body, frame.sequence)
    answer = reply(message, payload, secured=message.aps_secured)
    return replace(answer, urgency=Urgency.URGENT)


def _device_of(wanted: Effect) -> Eui64:
    match wanted:
        case effect.Persist() | effect.RaiseTransferAlert() | effect.Happened():
            return wanted.update.device
        case _:
            return wanted.peer


def _outbound(send: effect.Send) -> Outbound:
    return Outbound(
        send.peer,
        send.endpoint,
        zcl.CLUSTER,
        send.payload,
        _URGENCY[send.urgency],
        acknowledged=send.acknowledged,
        reference=send.token,
    )


def _save(update: Update, tx: Transaction) -> None:
    tx.updates.update(update)


def _save_progress(moved: effect.Progress, now: Now, tx: Transaction) -> None:
    moment = TransferProgress(moved.offset_bytes, moved.size_bytes, moved.blocks, now.utc)
    progress.write(tx.meta, moved.update, moment)
