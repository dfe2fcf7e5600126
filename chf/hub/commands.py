"""What people ask of the hub: the verbs of the inbox. A command and its result are one transaction.

A verb that only changes rows is done at once; one that needs the dongle waits until the dongle is there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from chf.clock import LAST_ZIGBEE_UTC, Now, UtcSeconds
from chf.errors import ChfError, RadioGoneError, RadioRefusedError, RefusedError, StoreUnavailableError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub.batch import Batch, DeviceChange
from chf.hub.device_log_alerts import TOOK_KEY_BACK, DeviceLogAlerts
from chf.hub.handler import HubContext
from chf.hub.journal import Journal
from chf.hub.updates import Updates
from chf.hub.wall_clock import note_clock
from chf.radio.interface import RadioState
from chf.store.inbox import Command, CommandState, Verb
from chf.store.rows import Unreadable
from chf.store.store import Transaction
from chf.trace import Kind
from chf.trust import insist_on_trust
from chf.update.clients import CLASSES
from chf.update.eligibility import HUB_ENFORCES, Check, Order, activation_for, early_activation, judge
from chf.update.model import (
    ActivateAt,
    ActivateByCommand,
    Activation,
    ActivationOrdered,
    Cancelled,
    Refused,
    Update,
    UpdateId,
    accept,
    activation_from_json,
)
from chf.update.recognition import NOTHING_KNOWN

LONGEST_LIFETIME_S: Final = 10 * 365 * 86_400.0
"""Of an update; our choice."""


class Commands:
    def __init__(self, context: HubContext, updates: Updates, journal: Journal, log_alerts: DeviceLogAlerts) -> None:
        self._store, self._radio, self._clock = context.store, context.radio, context.clock
        self._updates, self._journal, self._log_alerts = updates, journal, log_alerts
        self._policy, self._images, self._damage = context.settings.updates, context.images, context.damage

    async def take(self) -> bool:
        """Do what is pending, in its order, as far as dongle and disk allow. Whether anything was done."""
        done = False
        commands = self._store.inbox.pending()
        self._refuse_unreadable(commands.unreadable)
        for command in commands:
            if self._journal.behind:
                return done  # the store does not say yet what was done: a command might be taken twice
            now = self._clock.now()
            try:
                batch = await self._do(command, now)
            except RadioRefusedError as error:  # the dongle is there, and will not: its tables are full, say
                batch = _refusal(command, str(error), now)
            except RadioGoneError:
                return done  # it stays pending, and so does what was asked after it
            except StoreUnavailableError:
                raise  # it is done when the store can be read again
            except (ChfError, KeyError, ValueError, TypeError) as error:
                reason = str(error) if isinstance(error, ChfError) else f"the command is malformed: {error!r}"
                batch = _refusal(command, reason, now)
            self._journal.carry_out(batch)
            if not self._journal.behind and self._is_pending(command):
                self._journal.carry_out(_refusal(command, "what it decides cannot be written: see the log", now))
            done = True
        return done

    def _refuse_unreadable(self, rows: Iterable[Unreadable]) -> None:
        batch = Batch(self._clock.now())
        for row in self._damage.report(rows, batch):
            if row.key.isdecimal():
                batch.write(partial(_refuse, int(row.key), str(row), batch.now.utc))
        self._journal.carry_out(batch)

    def _is_pending(self, command: Command) -> bool:
        """Its batch was set aside: without an end it would be taken again, for ever."""
        taken = self._store.inbox.get(command.id)
        return taken is not None and taken.state is CommandState.PENDING

    async def _do(self, command: Command, now: Now) -> Batch:
        batch = Batch(now)
        match command.verb:
            case Verb.CLOCK_TRUST:
                self._clock.confirm()
                batch.write(partial(note_clock, self._clock.record()))
                result = {}
            case Verb.DEVICE_PERMIT:
                result = await self._permit(batch, command.body)
            case Verb.DEVICE_FORGET:
                result = await self._forget(batch, command.body)
            case Verb.DEVICE_SET_CLASS:
                result = self._set_class(batch, command.body)
            case Verb.UPDATE_START:
                result = await self._start(batch, command.body)
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
        batch.write(partial(_take_key_back, device))
        took_back = {} if entry.link_key is None else {TOOK_KEY_BACK: True}
        batch.event(Kind.DEVICE_PERMITTED, {"seconds": seconds, **took_back}, device=device)
        self._log_alerts.raise_all(batch)
        return {"device": format_eui64(device), "seconds": seconds}

    async def _forget(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        device = parse_eui64(body["device"])
        if self._store.devices.get(device) is None:
            raise RefusedError(f"{format_eui64(device)} is not in the device log")
        active = self._store.updates.active_for(device)
        if active is not None and not active.distributed:  # that one nobody but its supplier could end
            raise RefusedError(f"{format_eui64(device)} has update {active.id} in progress: cancel that first")
        self._insist_on_radio()
        await self._radio.forget(device)
        if active is not None:
            self._updates.tell(batch, device, Refused("the device was taken out of the device log"))
        batch.write(lambda tx: tx.devices.remove(device))
        batch.event(Kind.DEVICE_FORGOTTEN, {}, device=device)
        self._log_alerts.raise_all(batch)
        batch.changed(device, DeviceChange.FORGOTTEN)
        return {"device": format_eui64(device)}

    def _set_class(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        device, name = parse_eui64(body["device"]), body["class"]
        if self._store.devices.get(device) is None:
            raise RefusedError(f"{format_eui64(device)} is not in the device log")
        if name is not None and name not in CLASSES:
            raise RefusedError(f"there is no class {name!r} of OTA clients: there are {', '.join(CLASSES)}")
        self._updates.set_client_class(batch, device, name)
        return {"device": format_eui64(device), "class": name}

    async def _start(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        """One update for each device; the refusals of some do not stop the others."""
        lifetime_s = float(body.get("lifetime_s") or self._policy.lifetime_s)
        if not 0 < lifetime_s <= LONGEST_LIFETIME_S:
            raise ValueError(f"a lifetime of {lifetime_s} s")
        if self._store.images.get(body["image"]) is None:
            raise RefusedError(f"image {body['image']} is not in the store")
        ordered = _ordered(body["activation"], batch.now)
        order = Order(await self._images.load(body["image"]), ordered, utc=batch.now.utc)
        allow_downgrade = body.get("allow_downgrade") is True
        enforced = HUB_ENFORCES - {Check.DOWNGRADE} if allow_downgrade else HUB_ENFORCES
        origin = str(body.get("origin", "cli"))
        started, refused = [], []
        next_id = self._store.updates.next_id()
        for text in body["devices"]:
            device = parse_eui64(text)
            candidate = self._store.candidate(device)
            verdict = judge(candidate, order, enforced)
            if verdict.refusal is not None:
                reason = f"{format_eui64(device)}: {verdict.refusal.reason}"
                refused.append({"device": format_eui64(device), "reason": reason})
                batch.event(Kind.REQUEST_REFUSED, {"request": origin, "reason": reason}, device=device)
                continue
            assert candidate is not None, "who is not known is refused"
            active = self._store.updates.active_for(device)
            if active is not None:
                how = "before its supplier activated it" if active.distributed else "whose ForceReplace is set"
                reason = f"replaced by image {order.image.sha256[:16]}, {how}"
                self._updates.tell(batch, device, Refused(reason))
            update = accept(
                number=next_id,
                device=device,
                image=order.image.sha256,
                image_type=order.image.header.made_for,
                file_version=order.image.header.file_version,
                activation=activation_for(candidate.device_type, order.activation),
                origin=origin,
                version_before=candidate.running(order.image.header.made_for),
                now_utc=batch.now.utc,
                lifetime_s=lifetime_s,
                allow_downgrade=allow_downgrade,
            )
            next_id = UpdateId(next_id + 1)
            batch.write(partial(_add_update, update))
            warning = next((note.reason for note in verdict.notes if note.check is Check.EARLY_ACTIVATION), None)
            fields = {"request": origin, "sha256": order.image.sha256, "warning": warning}
            batch.event(Kind.REQUEST_ACCEPTED, fields, device=device, update=int(update.id))
            self._updates.add(batch, update)
            started.append({"device": format_eui64(device), "update": int(update.id), "warning": warning})
        return {"started": started, "refused": refused}

    def _cancel(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        update = self._active_update(body)
        self._updates.tell(batch, update.device, Cancelled())
        return {"update": int(update.id)}

    def _activate(self, batch: Batch, body: Mapping[str, Any]) -> dict[str, Any]:
        update = self._active_update(body)
        activation = _ordered(body["activation"], batch.now)
        if isinstance(activation, ActivateByCommand):
            raise UsageError("the supplier's signed command is not the hub's to give")
        if isinstance(update.activation, ActivateByCommand):
            raise RefusedError(f"update {update.id} waits for its supplier's command CS06, and for nobody else's")
        self._updates.tell(batch, update.device, ActivationOrdered(activation))
        entry = self._store.devices.get(update.device)
        client = NOTHING_KNOWN if entry is None else entry.client
        return {"update": int(update.id), "warning": early_activation(client, activation, batch.now.utc)}

    def _active_update(self, body: Mapping[str, Any]) -> Update:
        update = self._store.updates.get(UpdateId(int(body["update"])))
        if update is None:
            raise RefusedError(f"there is no update {body['update']}")
        if not update.active:
            raise RefusedError(f"update {update.id} is {update.state.value} already")
        return update

    def _insist_on_radio(self) -> None:
        if self._radio.state is not RadioState.UP:
            raise RadioGoneError("the radio is not up")


def _ordered(value: dict[str, Any], now: Now) -> Activation:
    """Raises ValueError for a time that no device can be told, RefusedError for any while the clock is not trusted.

    One that is past is for the OTA server to judge.
    """
    activation = activation_from_json(value)
    if isinstance(activation, ActivateAt):
        insist_on_trust(now)
    if isinstance(activation, ActivateAt) and not activation.utc <= LAST_ZIGBEE_UTC:  # NaN is not, either
        raise ValueError(f"the activation time {activation.utc} is none that a device can be told")
    return activation


def _refusal(command: Command, reason: str, now: Now) -> Batch:
    batch = Batch(now)
    fields: dict[str, str | int] = {"command": command.id, "verb": command.verb, "state": "refused", "reason": reason}
    batch.event(Kind.COMMAND_FINISHED, fields)
    batch.write(partial(_refuse, command.id, reason, now.utc))
    return batch


def _refuse(command: int, reason: str, utc: UtcSeconds, tx: Transaction) -> None:
    tx.inbox.refuse(command, reason, utc)


def _take_key_back(device: Eui64, tx: Transaction) -> None:
    """A device that joins again begins with its install code's key, and establishes another."""
    entry = tx.devices.get(device)
    if entry is not None and entry.link_key is not None:
        tx.devices.update(replace(entry, link_key=None, key_suite=None, key_utc=None))


def _add_update(update: Update, tx: Transaction) -> None:
    tx.updates.add(update)
