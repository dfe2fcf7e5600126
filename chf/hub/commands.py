"""What people ask of the hub: the verbs of the inbox. A command and its result are one transaction.

A verb that only changes rows is done at once; one that needs the dongle waits until the dongle is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from chf.clock import LAST_ZIGBEE_UTC, Clock, Now
from chf.errors import ChfError, RadioGoneError, RadioRefusedError, RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub.batch import Batch
from chf.hub.journal import Journal
from chf.hub.log_alerts import TOOK_KEY_BACK, LogAlerts
from chf.hub.updates import Updates
from chf.image.header import OtaHeader
from chf.image.image import ImageId, ImageKind, parse_image
from chf.radio.interface import Radio, RadioState
from chf.store import Store
from chf.store.device_log import DeviceType
from chf.store.images import ImageRecord
from chf.store.inbox import Command, CommandState, Verb
from chf.store.store import Transaction
from chf.trace import Kind
from chf.update.model import (
    ActivateAt,
    ActivateByCommand,
    ActivateNow,
    Activation,
    Update,
    UpdateId,
    accept,
    activation_from_json,
)
from chf.update.scheduler import SchedulePolicy

COMMANDED: Final = frozenset({DeviceType.HCALCS, DeviceType.ESME, DeviceType.GSME})
"""They activate on the word of their supplier (CS06), never on that of the hub."""

LONGEST_LIFETIME_S: Final = 10 * 365 * 86_400.0
"""Of an update; our choice."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What an update.start asks for, the same for each of its devices."""

    image: ImageRecord
    destination: Eui64 | None
    activation: Activation
    origin: str
    lifetime_s: float
    allow_downgrade: bool


class Commands:
    def __init__(
        self,
        store: Store,
        radio: Radio,
        updates: Updates,
        journal: Journal,
        policy: SchedulePolicy,
        log_alerts: LogAlerts,
        forgotten: Callable[[Eui64, Now], None],
    ) -> None:
        self._store, self._radio, self._updates, self._journal = store, radio, updates, journal
        self._policy, self._log_alerts, self._forgotten = policy, log_alerts, forgotten

    async def take(self, clock: Clock) -> bool:
        """Do what is pending, in its order, as far as dongle and disk allow. Whether anything was done."""
        done = False
        for command in self._store.inbox.pending():
            if self._journal.behind:
                return done  # the store does not say yet what was done: a command might be taken twice
            now = clock.now()
            try:
                batch = await self._do(command, now)
            except RadioRefusedError as error:  # the dongle is there, and will not: its tables are full, say
                batch = _refusal(command, str(error), now)
            except RadioGoneError:
                return done  # it stays pending, and so does what was asked after it
            except (ChfError, KeyError, ValueError, TypeError) as error:
                reason = str(error) if isinstance(error, ChfError) else f"the command is malformed: {error!r}"
                batch = _refusal(command, reason, now)
            self._journal.carry_out(batch)
            if not self._journal.behind and self._is_pending(command):
                self._journal.carry_out(_refusal(command, "what it decides cannot be written: see the log", now))
            done = True
        return done

    def _is_pending(self, command: Command) -> bool:
        """Its batch was set aside: without an end it would be taken again, for ever."""
        taken = self._store.inbox.get(command.id)
        return taken is not None and taken.state is CommandState.PENDING

    async def _do(self, command: Command, now: Now) -> Batch:
        batch = Batch(now)
        match command.verb:
            case Verb.DEVICE_PERMIT:
                result = await self._permit(batch, command.body)
            case Verb.DEVICE_FORGET:
                result = await self._forget(batch, command.body)
            case Verb.UPDATE_START:
                result = self._start(batch, command.body)
            case Verb.UPDATE_CANCEL:
                result = self._cancel(batch, command.body)
            case Verb.UPDATE_ACTIVATE:
                result = self._activate(batch, command.body)
            case verb:
                raise UsageError(f"this hub knows no command {verb!r}")
        batch.event(Kind.COMMAND_FINISHED, {"command": command.id, "verb": command.verb, "state": "done"})
        batch.write(lambda tx: tx.inbox.finish(command.id, result, now.utc))
        return batch

    async def _permit(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        device, seconds = parse_eui64(body["device"]), int(body["seconds"])
        entry = self._store.devices.get(device)
        if entry is None:
            raise RefusedError(f"{format_eui64(device)} is not in the device log: add it first")
        if entry.install_code_link_key is None:
            raise RefusedError(f"{format_eui64(device)} has no install code in the device log")
        self._insist_on_radio()
        await self._radio.permit(device, entry.install_code_link_key, seconds)
        batch.write(partial(_begin_anew, device))
        took_back = {} if entry.link_key is None else {TOOK_KEY_BACK: True}
        batch.event(Kind.DEVICE_PERMITTED, {"seconds": seconds, **took_back}, device=device)
        self._log_alerts.raise_all(self._store, batch)
        return {"device": format_eui64(device), "seconds": seconds}

    async def _forget(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        device = parse_eui64(body["device"])
        if self._store.devices.get(device) is None:
            raise RefusedError(f"{format_eui64(device)} is not in the device log")
        active = self._store.jobs.active_for(device)
        if active is not None and not active.distributed:  # that one nobody but its supplier could end
            raise RefusedError(f"{format_eui64(device)} has update {active.id} in progress: cancel that first")
        self._insist_on_radio()
        await self._radio.forget(device)
        if active is not None:
            self._updates.replace(batch, active, "the device was taken out of the device log")
        batch.write(lambda tx: tx.devices.remove(device))
        batch.event(Kind.DEVICE_FORGOTTEN, {}, device=device)
        self._log_alerts.raise_all(self._store, batch)
        batch.then(lambda: self._forgotten(device, batch.now))
        return {"device": format_eui64(device)}

    def _start(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        """One update for each device; the refusals of some do not stop the others."""
        lifetime_s = float(body.get("lifetime_s") or self._policy.lifetime_s)
        if not 0 < lifetime_s <= LONGEST_LIFETIME_S:
            raise ValueError(f"a lifetime of {lifetime_s} s")
        record = self._store.images.get(body["image"])
        if record is None:
            raise RefusedError(f"image {body['image']} is not in the store")
        order = _Order(
            record,
            OtaHeader.from_bytes(self._store.images.open(record.sha256)).destination,
            _ordered(body["activation"]),
            str(body.get("origin", "cli")),
            lifetime_s,
            allow_downgrade=body.get("allow_downgrade") is True,
        )
        started, refused = [], []
        next_id = self._next_id()
        for text in body["devices"]:
            device = parse_eui64(text)
            try:
                job = self._accept(device, next_id, order, batch)
            except RefusedError as error:
                refused.append({"device": format_eui64(device), "reason": str(error)})
                batch.event(Kind.REQUEST_REFUSED, {"request": order.origin, "reason": str(error)}, device=device)
                continue
            next_id = UpdateId(next_id + 1)
            batch.write(partial(_add_job, job))
            fields = {"request": order.origin, "sha256": record.sha256}
            batch.event(Kind.REQUEST_ACCEPTED, fields, device=device, job=int(job.id))
            self._updates.add(batch, job)
            started.append({"device": format_eui64(device), "update": int(job.id)})
        return {"started": started, "refused": refused}

    def _accept(self, device: Eui64, job_id: UpdateId, order: _Order, batch: Batch) -> Update:
        """Raises RefusedError with the reason why this device gets no update now."""
        entry = self._store.devices.get(device)
        if entry is None:
            raise RefusedError(f"{format_eui64(device)} is not in the device log")
        if entry.device_type is DeviceType.IHD:
            raise RefusedError(f"{format_eui64(device)} is a stand-alone IHD: its firmware is not updated by a hub")
        activation = admissible(entry.device_type, ImageKind(order.image.kind), order.activation)
        active = self._store.jobs.active_for(device)
        if active is not None and not self._gives_way(active, order.image):
            raise RefusedError(f"{format_eui64(device)} has update {active.id} in progress")
        only = order.destination
        if only is not None and only != device:
            raise RefusedError(f"the image is for {format_eui64(only)} only, not for {format_eui64(device)}")
        maker = order.image.manufacturer
        if entry.manufacturer is not None and entry.manufacturer != maker:
            raise RefusedError(
                f"{format_eui64(device)} is of manufacturer 0x{entry.manufacturer:04X}, the image is for 0x{maker:04X}"
            )
        running, target = entry.file_version, order.image.file_version
        if running is not None and running > target and not order.allow_downgrade:
            raise RefusedError(
                f"{format_eui64(device)} runs version 0x{running:08X}, newer than 0x{target:08X}:"
                " a downgrade must be asked for"
            )
        job = accept(
            job_id=job_id,
            device=device,
            image=ImageId(order.image.sha256),
            file_version=target,
            activation=activation,
            origin=order.origin,
            version_before=running,
            now_utc=batch.now.utc,
            lifetime_s=order.lifetime_s,
            allow_downgrade=order.allow_downgrade,
        )
        if active is not None:
            how = "before its supplier activated it" if active.distributed else "whose ForceReplace is set"
            self._updates.replace(batch, active, f"replaced by image {order.image.sha256[:16]}, {how}")
        return job

    def _gives_way(self, active: Update, record: ImageRecord) -> bool:
        """Whether the device may have this image instead.

        What it has whole it may have replaced. While it still loads, that takes ForceReplace: our reading of it, since
        no public text says more than that it is for the hub.
        """
        if active.distributed and record.kind == ImageKind.GBCS_SIGNED.value and record.sha256 != active.image:
            return True
        if not isinstance(active.activation, ActivateByCommand) or record.kind != ImageKind.GBCS_SIGNED.value:
            return False
        content = self._store.images.open(record.sha256)
        return parse_image(content, kind=ImageKind.GBCS_SIGNED, limit_bytes=len(content)).force_replace is True

    def _cancel(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        job = self._active_job(body)
        self._updates.cancel(batch, job)
        return {"update": int(job.id)}

    def _activate(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        job = self._active_job(body)
        activation = _ordered(body["activation"])
        if isinstance(activation, ActivateByCommand):
            raise UsageError("the supplier's signed command is not the hub's to give")
        if isinstance(job.activation, ActivateByCommand):
            raise RefusedError(f"update {job.id} waits for its supplier's command CS06, and for nobody else's")
        self._updates.activate(batch, job, activation)
        return {"update": int(job.id)}

    def _active_job(self, body: Mapping[str, Any]) -> Update:
        job = self._store.jobs.get(UpdateId(int(body["update"])))
        if job is None:
            raise RefusedError(f"there is no update {body['update']}")
        if not job.active:
            raise RefusedError(f"update {job.id} is {job.state.value} already")
        return job

    def _next_id(self) -> UpdateId:
        return UpdateId(max((int(job.id) for job in self._store.jobs.list()), default=0) + 1)

    def _insist_on_radio(self) -> None:
        if self._radio.state is not RadioState.UP:
            raise RadioGoneError("the radio is not up")


def _ordered(value: dict[str, Any]) -> Activation:
    """Raises ValueError for a time that no device can be told. One that is past is for the OTA server to judge."""
    activation = activation_from_json(value)
    if isinstance(activation, ActivateAt) and not activation.utc <= LAST_ZIGBEE_UTC:  # NaN is not, either
        raise ValueError(f"the activation time {activation.utc} is none that a device can be told")
    return activation


def admissible(device_type: DeviceType, kind: ImageKind, wanted: Activation) -> Activation:
    """How this device activates this kind of image. Raises RefusedError where it takes none, or no such order."""
    if device_type not in COMMANDED:
        if isinstance(wanted, ActivateByCommand):
            raise RefusedError(f"a {device_type.value} obeys no command of a supplier: the hub activates it")
        return wanted
    if kind is not ImageKind.GBCS_SIGNED:
        raise RefusedError(f"a {device_type.value} takes images that its supplier signed, not one of kind {kind.value}")
    if not isinstance(wanted, ActivateNow | ActivateByCommand):
        raise RefusedError(
            f"a {device_type.value} is activated by its supplier's command CS06, at no time of the hub's"
        )
    return ActivateByCommand()


def _refusal(command: Command, reason: str, now: Now) -> Batch:
    batch = Batch(now)
    fields: dict[str, str | int] = {"command": command.id, "verb": command.verb, "state": "refused", "reason": reason}
    batch.event(Kind.COMMAND_FINISHED, fields)
    batch.write(lambda tx: tx.inbox.refuse(command.id, reason, now.utc))
    return batch


def _begin_anew(device: Eui64, tx: Transaction) -> None:
    """A device that joins anew has its install code's key, and establishes another."""
    entry = tx.devices.get(device)
    if entry is not None and entry.link_key is not None:
        tx.devices.update(replace(entry, link_key=None, key_suite=None, key_utc=None))


def _add_job(job: Update, tx: Transaction) -> None:
    tx.jobs.add(job)
