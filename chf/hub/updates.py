"""Updates: what the OTA server did becomes what happened to the job; what the job wants becomes a verb of the server.

The two cores know nothing of each other. This file is the only place where their words meet.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError, StoreCorruptError, UsageError
from chf.eui64 import Eui64
from chf.hub.batch import Batch, DeviceChange, append
from chf.hub.handler import Handler, HubContext
from chf.image.image import FirmwareImage
from chf.radio.interface import Delivery, Inbound, NetworkInfo, Outbound, Urgency
from chf.store import progress
from chf.store.device_log import DeviceEntry
from chf.store.progress import TransferProgress
from chf.store.store import Transaction
from chf.trace import Event, Kind
from chf.update import model as jobs
from chf.update.model import (
    ActivateAt,
    ActivateHold,
    ActivateNow,
    ImageRef,
    SessionRecord,
    TransferOutcome,
    Update,
    UpdateEvent,
    UpdateId,
)
from chf.update.scheduler import Effect as JobEffect
from chf.update.scheduler import SaveJob, Scheduler
from chf.update.transfer import effects as ota
from chf.update.transfer.server import OtaServer
from chf.update.transfer.transitions import State
from chf.zcl import ota as zcl

_DECISIONS: Final = frozenset({ota.Token.HOLD, ota.Token.COMMIT})
"""What such a message says is in the store first, the message that repeats it too."""

_URGENCY: Final = {urgency: Urgency[urgency.name] for urgency in ota.Urgency}


@dataclass(slots=True)
class Transfer:
    """What was served to a device in this process."""

    job: UpdateId
    blocks: int = 0
    progress: TransferProgress | None = None
    unwritten: bool = False

    def written(self) -> None:
        self.unwritten = False


def outbound(send: ota.Send) -> Outbound:
    return Outbound(
        send.peer,
        send.endpoint,
        zcl.CLUSTER,
        send.payload,
        _URGENCY[send.urgency],
        acknowledged=send.acknowledged,
        reference=send.token,
    )


class Updates(Handler):
    """Feeds both cores and turns what they return into batches."""

    def __init__(self, context: HubContext) -> None:
        self.server, self.scheduler = OtaServer(context.settings.ota), Scheduler(context.settings.jobs)
        self.transfers: dict[Eui64, Transfer] = {}
        self._store, self._alerts, self._devices = context.store, context.alerts, context.devices
        self._images, self._clock = context.images, context.clock
        self._read_at_start: dict[str, FirmwareImage] = {}
        self._unasked: set[UpdateId] = set()

    # From the store, at the start

    async def prepare(self) -> None:
        """Read the images first: a device whose transfer is not taken up yet would be told that there is none."""
        wanted = [job.image for job in self._store.jobs.list() if job.active]
        self._read_at_start = await self._images.load_all(wanted)

    def started(self, network: NetworkInfo | None, now: Now) -> Batch:
        """Take up every job and transfer where an earlier process left it."""
        del network
        all_jobs = self._store.jobs.list()
        due = self.scheduler.load(all_jobs, now)  # first: what the sessions tell must find its job
        batch = Batch(now)
        for job in all_jobs:
            if job.active:
                batch.then(partial(self._take_up, job, now))

        def go_on() -> Batch:
            self._read_at_start = {}
            after = Batch(now)
            self._job_effects(after, due)
            return after

        batch.then(go_on)
        return batch

    def _take_up(self, job: Update, now: Now) -> Batch:
        batch = Batch(now)
        text = self._store.jobs.session(job.id)
        if text is None:
            return batch
        try:
            record = SessionRecord.from_json(json.loads(text))
            image = self._read_at_start.get(job.image)
            if image is None:
                raise StoreCorruptError(f"its image {job.image} cannot be read")  # noqa: TRY301
            effects = self.server.restore(record, _image_ref(image), now)
        except (RefusedError, StoreCorruptError, UsageError, ValueError) as error:
            reason = f"the transfer cannot be taken up: {error}"
            batch.event(Kind.ALARM, {"reason": reason}, device=job.device, job=job.id)
            return batch
        known = progress.read(self._store.meta, job.id)
        self.transfers[job.device] = Transfer(job.id, 0 if known is None else known.blocks)
        self._ota_effects(batch, effects)
        return batch

    # From the radio

    def receive(self, message: Inbound, now: Now) -> Batch:
        self._devices.hear(message.source, now, message.source_endpoint)
        return self._batch(self.server.receive(message.source, message.source_endpoint, message.payload, now), now)

    def sent(self, message: Outbound, delivery: Delivery, now: Now) -> Batch:
        token = message.reference
        if not isinstance(token, ota.Token):
            return Batch(now)
        is_delivered = delivery is Delivery.DELIVERED
        return self._batch(self.server.delivered(message.destination, token, is_delivered, now), now)

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        batch = Batch(now)
        if change is DeviceChange.ARRIVED:
            self.tell(batch, device, jobs.DeviceRejoined())
        return batch

    # From time

    def deadline(self) -> Instant | None:
        due = (self.server.deadline(), self.scheduler.deadline())
        return min((instant for instant in due if instant is not None), default=None)

    def handle_deadline(self, now: Now) -> Batch:
        batch = self._batch(self.server.handle_deadline(now), now)
        self._job_effects(batch, self.scheduler.handle_deadline(now))
        return batch

    # What is written now and then

    def unwritten(self, now: Now) -> Iterator[Batch]:
        """How far each transfer is, where that is not written yet."""
        for peer, transfer in self.transfers.items():
            if transfer.unwritten and transfer.progress is not None:
                batch = Batch(now)
                batch.write(partial(_save_progress, transfer), device=peer, durable=False)
                batch.then(transfer.written)
                yield batch

    # From people

    def add(self, batch: Batch, job: Update) -> None:
        """A new job: its row is among the batch's writes already."""

        def start() -> Batch:
            after = Batch(batch.now)
            self._job_effects(after, self.scheduler.add(job, batch.now))
            self._job_effects(after, self.scheduler.handle(job.id, jobs.Stored(), batch.now))
            return after

        batch.then(start)

    def cancel(self, batch: Batch, job: Update) -> None:
        """Raises RefusedError where the device cannot be called back any more."""
        now = batch.now
        effects = self.server.cancel(job.device, now) if self._in_session(job) else ()
        # The job first: the transfer's end that follows is then known for what it is.
        self._job_effects(batch, self.scheduler.handle(job.id, jobs.Cancelled(), now))
        self._ota_effects(batch, effects)

    def replace(self, batch: Batch, job: Update, reason: str) -> None:
        """End an update that has not activated anything, so that another of the same device may begin."""
        self._job_effects(batch, self.scheduler.handle(job.id, jobs.Refused(reason), batch.now))

    def activate(self, batch: Batch, job: Update, activation: ActivateNow | ActivateAt | ActivateHold) -> None:
        """Decide anew when the device activates. Raises RefusedError once it was told a time."""
        now = batch.now
        effects = self.server.release(job.device, activation, now) if self._in_session(job) else ()
        self._job_effects(batch, self.scheduler.handle(job.id, jobs.ActivationOrdered(activation), now))
        self._ota_effects(batch, effects)

    def announced(self, device: Eui64) -> bool:
        """An image is on offer that the device has not asked for."""
        job = self.scheduler.for_device(device)
        return job is not None and job.state is jobs.UpdateState.ANNOUNCED

    # Into the jobs

    def tell(self, batch: Batch, device: Eui64, event: UpdateEvent) -> None:
        job = self.scheduler.for_device(device)
        if job is not None:
            self._job_effects(batch, self.scheduler.handle(job.id, event, batch.now))

    def _job_effects(self, batch: Batch, effects: Iterable[JobEffect]) -> None:
        for effect in effects:
            match effect:
                case SaveJob(before, job, _):
                    batch.write(partial(_save_job, job), device=job.device)
                    if before.state is not job.state:
                        fields = {"from": before.state.value, "to": job.state.value, "reason": job.reason}
                        batch.event(Kind.JOB_STATE, fields, device=job.device, job=job.id)
                case jobs.RaiseCcs08(job, outcome):
                    self._raise_ccs08(batch, job, outcome)
                case jobs.Offer(job):
                    batch.then(partial(self._offer, job, batch.now))
                case jobs.CancelOffer(job):
                    batch.then(partial(self._withdraw, job, batch.now))
                case jobs.ReadVersion(job, _):
                    batch.then(partial(self._ask_version, job, batch.now))
                case _:
                    assert_never(effect)

    def _raise_ccs08(self, batch: Batch, job: Update, outcome: TransferOutcome) -> None:
        now = batch.now

        def write(tx: Transaction) -> Event:
            alert = self._alerts.transfer_alert(tx, job, outcome, now.utc)
            fields = {
                "use_case": alert.use_case,
                "alert_code": f"0x{alert.alert_code:04X}",
                "outcome": alert.outcome,
                "msg_id": alert.msg_id,
            }
            return append(Event(now.utc, Kind.ALERT_RAISED, job.device, int(job.id), fields), tx)

        batch.write(write)

    # Into the OTA server

    def _offer(self, job: Update, now: Now) -> Batch | None:
        if self._in_session(job):
            return None  # restored from its record, or released by name
        image = self._images.get(job.image)
        if image is not None:
            return self._offer_image(job, image, now)
        batch = Batch(now)
        batch.start(partial(self._offer_unread, job))
        return batch

    async def _offer_unread(self, job: Update) -> Batch | None:
        try:
            image = await self._images.load(job.image)
        except (StoreCorruptError, UsageError) as error:
            batch = Batch(self._clock.now())
            batch.event(Kind.IMAGE_CORRUPT, {"sha256": job.image}, device=job.device, job=job.id)
            self._job_effects(batch, self.scheduler.handle(job.id, jobs.Refused(str(error)), batch.now))
            return batch
        current = self.scheduler.for_device(job.device)
        if current is None or current.id != job.id or not current.active:
            return None  # it ended meanwhile
        return self._offer_image(job, image, self._clock.now())

    def _offer_image(self, job: Update, image: FirmwareImage, now: Now) -> Batch:
        batch = Batch(now)
        try:
            effects = self.server.offer(
                str(job.id),
                job.device,
                _image_ref(image),
                job.activation,
                now,
                endpoint=self._devices.endpoint(job.device),
                sleepy=self._devices.is_gsme(job.device),
                allow_downgrade=job.allow_downgrade,
            )
        except RefusedError as error:
            effects = ()
            self._job_effects(batch, self.scheduler.handle(job.id, jobs.Refused(str(error)), now))
        self._ota_effects(batch, effects)
        return batch

    def _withdraw(self, job: Update, now: Now) -> Batch | None:
        """The job has ended: its session ends too, or is forgotten where the device can no longer be called back."""
        if not self._in_session(job):
            return None
        try:
            effects = self.server.cancel(job.device, now)
        except RefusedError:
            self.server.forget(job.device)
            return None
        return self._batch(effects, now)

    def _ask_version(self, job: Update, now: Now) -> Batch | None:
        endpoint = self._devices.endpoint(job.device)
        return None if endpoint is None else self._batch(self.server.ask_version(job.device, endpoint), now)

    def _in_session(self, job: Update) -> bool:
        try:
            return self.server.snapshot(job.device).job == str(job.id)
        except RefusedError:
            return False

    # Out of the OTA server

    def _batch(self, effects: ota.Effects, now: Now) -> Batch:
        batch = Batch(now)
        self._ota_effects(batch, effects)
        return batch

    def _ota_effects(self, batch: Batch, effects: ota.Effects) -> None:
        for effect in effects:
            match effect:
                case ota.Send():
                    batch.send(self._sent(effect), ordered=effect.token in _DECISIONS)
                case ota.Persist(_, record):
                    batch.write(partial(_save_session, record), device=record.peer)
                case ota.Progress():
                    self._progress(effect, batch.now.utc)
                    self._tell_job(batch, effect.job, jobs.DownloadStarted())  # keeps its place among the concurrent
                case ota.StateChanged():
                    self._state_changed(batch, effect)
                case ota.TransferEnded():
                    self._transfer_ended(batch, effect)
                case ota.ActivationGiven(job, peer, at_utc):
                    batch.event(Kind.OTA_ACTIVATION_GIVEN, {"at": at_utc}, device=peer, job=int(job))
                    self._tell_job(batch, job, jobs.ActivationGiven(at_utc))
                case ota.VersionSeen():
                    self._version_seen(batch, effect)
                case ota.Alarm(peer, kind, text):
                    batch.event(Kind.ALARM, {"reason": f"{kind.value}: {text}"}, device=peer)
                case _:
                    assert_never(effect)

    def _sent(self, send: ota.Send) -> Outbound:
        if send.token is ota.Token.BLOCK and (transfer := self.transfers.get(send.peer)) is not None:
            transfer.blocks += 1
        return outbound(send)

    def _tell_job(self, batch: Batch, job: str, event: UpdateEvent) -> None:
        self._job_effects(batch, self.scheduler.handle(UpdateId(int(job)), event, batch.now))

    def _state_changed(self, batch: Batch, change: ota.StateChanged) -> None:
        """A session's state, in the words of the job."""
        record = self.server.snapshot(change.peer)
        until = record.activation.utc if isinstance(record.activation, ActivateAt) else None
        match change.new:
            case State.OFFERED:
                self._tell_job(batch, change.job, jobs.Announced())
            case State.DOWNLOADING | State.SERVED:
                self._transfer(change.peer, change.job)
                self._tell_job(batch, change.job, jobs.DownloadStarted())
            case State.PARKED | State.HELD:
                what = jobs.WaitReason.COMMAND if until is None else jobs.WaitReason.TIME
                self._tell_job(batch, change.job, jobs.WaitingFor(what, until))
            case State.MISSED:
                batch.event(Kind.ALARM, {"reason": change.detail}, device=change.peer, job=int(change.job))
                self._tell_job(batch, change.job, jobs.WaitingFor(jobs.WaitReason.COMMAND))
            case State.FAILED:
                if record.downloaded:
                    self._tell_job(batch, change.job, jobs.Refused(change.detail))
            case State.COMMITTED | State.RUNNING | State.CANCELLED:
                pass  # told by an effect of its own, or by whoever cancelled
            case _:
                assert_never(change.new)

    def _transfer_ended(self, batch: Batch, ended: ota.TransferEnded) -> None:
        transfer = self.transfers.get(ended.peer)
        job = self.scheduler.get(UpdateId(int(ended.job)))
        started = None if job is None else job.download_started
        fields: dict[str, str | int | float] = {
            "outcome": ended.outcome.value,
            "reason": ended.reason,
            "blocks": 0 if transfer is None else transfer.blocks,
            "bytes": 0 if transfer is None or transfer.progress is None else transfer.progress.offset_bytes,
            "seconds": 0.0 if started is None else round(max(batch.now.utc - started, 0.0), 3),
        }
        batch.event(Kind.OTA_TRANSFER_ENDED, fields, device=ended.peer, job=int(ended.job))
        self._tell_job(batch, ended.job, jobs.TransferEnded(ended.outcome, ended.reason))

    def _version_seen(self, batch: Batch, seen: ota.VersionSeen) -> None:
        told = {
            "file_version": seen.file_version,
            "manufacturer": seen.manufacturer_code,
            "image_type": seen.image_type,
            "hardware_version": seen.hardware_version,
        }
        known = {name: value for name, value in told.items() if value is not None}
        entry = self._devices.get(seen.peer)
        announced = self._devices.announced(seen.peer)
        if entry is not None and not announced and self._tells_of_boot(entry, seen):
            batch.changed(seen.peer, DeviceChange.ARRIVED)
        if entry is not None and any(getattr(entry, name) != value for name, value in known.items()):
            batch.write(lambda tx: self._devices.save(tx, seen.peer, **known), device=seen.peer, durable=False)
            batch.then(lambda: self._devices.saved(seen.peer))
            by = "query" if seen.manufacturer_code is not None else "read"
            batch.event(
                Kind.VERSION_OBSERVED, {"file_version": f"0x{seen.file_version:08X}", "by": by}, device=seen.peer
            )
        self._note_other_wish(batch, seen)
        self.tell(batch, seen.peer, jobs.VersionObserved(seen.file_version))

    def _tells_of_boot(self, entry: DeviceEntry, seen: ota.VersionSeen) -> bool:
        """Only a restart changes a version, or makes a device ask for an image that it was told to activate."""
        if entry.file_version not in (None, seen.file_version):
            return True
        job = self.scheduler.for_device(seen.peer)
        return seen.manufacturer_code is not None and job is not None and job.state is jobs.UpdateState.ACTIVATING

    def _note_other_wish(self, batch: Batch, seen: ota.VersionSeen) -> None:
        """A device that asks for another kind of image than it is offered may do so for ever: told once, for people.

        It is no failure: a device with several images asks for each of them.
        """
        job = self.scheduler.for_device(seen.peer)
        if job is None or job.state is not jobs.UpdateState.ANNOUNCED or job.id in self._unasked:
            return
        if seen.manufacturer_code is None or seen.image_type is None:
            return
        record = self._store.images.get(job.image)
        if record is None or (record.manufacturer, record.image_type) == (seen.manufacturer_code, seen.image_type):
            return
        self._unasked.add(job.id)
        reason = (
            f"the device asks for images of manufacturer 0x{seen.manufacturer_code:04X}, type 0x{seen.image_type:04X};"
            f" this one is for 0x{record.manufacturer:04X}, type 0x{record.image_type:04X}"
        )
        batch.event(Kind.ALARM, {"reason": reason}, device=seen.peer, job=job.id)

    def _progress(self, moved: ota.Progress, utc: UtcSeconds) -> None:
        transfer = self._transfer(moved.peer, moved.job)
        transfer.progress = TransferProgress(moved.offset_bytes, moved.size_bytes, transfer.blocks, utc)
        transfer.unwritten = True

    def _transfer(self, peer: Eui64, job: str) -> Transfer:
        transfer = self.transfers.get(peer)
        if transfer is None or transfer.job != int(job):
            transfer = self.transfers[peer] = Transfer(UpdateId(int(job)))
        return transfer


def _image_ref(image: FirmwareImage) -> ImageRef:
    header, hardware = image.header, image.header.hardware_versions
    return ImageRef(
        image.sha256,
        header.manufacturer_code,
        header.image_type,
        header.file_version,
        None if hardware is None else hardware.minimum,
        None if hardware is None else hardware.maximum,
        image.content,
    )


def _save_job(job: Update, tx: Transaction) -> None:
    tx.jobs.update(job)


def _save_session(record: SessionRecord, tx: Transaction) -> None:
    tx.jobs.save_session(UpdateId(int(record.job)), json.dumps(record.to_json(), sort_keys=True))


def _save_progress(transfer: Transfer, tx: Transaction) -> None:
    assert transfer.progress is not None
    progress.write(tx.meta, transfer.job, transfer.progress)
