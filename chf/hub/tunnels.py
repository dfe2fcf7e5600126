"""Tunnels: what the tunnel core wants done, and GBCS messages between the store and devices, both ways.

To a device, messages are rows that wait until it has them. From a device, a message goes into the alerts
outbox as it came, and is acknowledged only once it is written.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Final, assert_never

from chf import tunnel
from chf.clock import Instant, Now
from chf.errors import DamagedRowError, RadioGoneError, TimedOutError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.hub import messages_to_devices
from chf.hub.batch import Batch, DeviceChange
from chf.hub.handler import Handler, HubContext
from chf.hub.messages_from_devices import DeviceMessageRead, Signature, appointment
from chf.hub.messages_to_devices import MessagesToDevices
from chf.hub.updates import Updates
from chf.radio.interface import SMART_ENERGY_PROFILE, Inbound, NetworkInfo, Outbound
from chf.store.device_log import DeviceType
from chf.store.device_messages import DeviceMessage
from chf.store.rows import Unreadable
from chf.store.store import Transaction
from chf.trace import Kind
from chf.zcl import tunneling as zcl
from chf.zcl.metering import NotificationFlag

_LOG = logging.getLogger(__name__)

_CLIENT_OF: Final = frozenset({DeviceType.PPMID, DeviceType.ESME, DeviceType.HCALCS})
_SERVER_OF: Final = frozenset({DeviceType.GSME})
CARRIED: Final = _CLIENT_OF | _SERVER_OF
"""The devices that messages are carried to: of most the hub is the tunnel's client, of the GSME its server."""


class Tunnels(Handler):
    def __init__(self, context: HubContext, updates: Updates) -> None:
        self._context, self._devices, self._store = context, context.devices, context.store
        self._client = tunnel.TunnelClient(context.settings.tunnel)
        self._server = tunnel.TunnelServer(context.settings.tunnel)
        self._messages = MessagesToDevices(context.store)
        self._updates = updates

    # From the radio

    def started(self, network: NetworkInfo | None, now: Now) -> Batch:
        del network
        batch, records = Batch(now), []
        for entry in self._devices.joined():
            key = _tunnel_key(entry.eui64)
            try:
                record = self._store.meta.json(key)
                if record and entry.device_type in _CLIENT_OF:
                    records.append(tunnel.TunnelRecord(**record))
            except (DamagedRowError, TypeError) as error:  # the device is asked for a new tunnel in any case
                because = error.because if isinstance(error, DamagedRowError) else f"value: {error}"
                self._context.damage.report([Unreadable("meta", key, because)], batch)
        self._client.restore(records)
        batch.add(self._open_again("the hub was away", now))
        return batch

    def radio_returned(self, now: Now) -> Batch:
        return self._open_again("the radio was away", now)

    def _open_again(self, reason: str, now: Now) -> Batch:
        """Nobody saw who restarted meanwhile, and a device that did waits in silence for its alert to be fetched."""
        batch = Batch(now)
        for entry in self._devices.joined():
            batch.add(self._open(entry.eui64, now, reason))
        return batch

    def receive(self, message: Inbound, now: Now) -> Batch:
        source, endpoint, payload = message.source, message.source_endpoint, message.payload
        if self._is(source, _SERVER_OF):
            self._server.serve(source)
            effects = self._server.receive(source, endpoint, payload)
        else:
            effects = self._client.receive(source, endpoint, payload, now.instant, secured=message.aps_secured)
        return self._batch(effects, now)

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        match change:
            case DeviceChange.ARRIVED:
                return self._open(device, now)
            case DeviceChange.LEFT:
                left = (*self._server.device_left(device), *self._client.device_left(device, now.instant))
                return self._batch(left, now)
            case DeviceChange.FORGOTTEN:
                return self._batch((*self._client.forget(device, now.instant), *self._server.forget(device)), now)
            case DeviceChange.UNWRITTEN:
                # What is said of its messages here is not written: the rows that wait are handed over again.
                self._client.forget(device, now.instant)
                self._server.forget(device)
                self._messages.forget(device)
                return self._open(device, now, "what the hub knew of it could not be written")
            case _:
                assert_never(change)

    def _open(self, device: Eui64, now: Now, reason: str = "the device rejoined") -> Batch:
        if self._is(device, _CLIENT_OF):
            return self._batch(self._client.device_joined(device, now.instant, reason), now)
        if self._is(device, _SERVER_OF):
            self._server.serve(device)
            return self._batch(self._server.device_left(device), now)
        return Batch(now)

    def flags(self, device: Eui64) -> NotificationFlag:
        """What a GSME learns of its mirror when it wakes."""
        flags = NotificationFlag(0)
        if self._server.pending(device):
            flags |= NotificationFlag.TUNNEL_MESSAGE_PENDING
        if self._updates.has_offer(device):
            flags |= NotificationFlag.NEW_OTA_FIRMWARE
        return flags

    # From the store

    def take_messages(self, now: Now) -> Iterator[Batch]:
        """Hand messages over to the tunnels of their devices, as far as there are any: a batch for each."""
        rows = self._messages.waiting()
        damage = Batch(now)
        for unreadable in self._context.damage.report(rows.unreadable, damage):
            self._messages.unreadable(damage, unreadable)
        if damage.writes:
            yield damage
        for row in rows:
            batch = Batch(now)
            left_s = messages_to_devices.lifetime_s(row, now)
            if left_s <= 0:
                self._messages.expire(batch, row)
            elif not self._is(row.device, CARRIED):
                self._messages.refused(batch, row, "no access: no device of the log that takes messages")
            else:
                try:
                    effects = self._hand(row, left_s, now)
                except UsageError:
                    continue  # it never joined, or has enough to do: the row waits
                self._messages.handed(batch, row)
                batch.add(self._batch(effects, now))
            yield batch

    # From time

    def deadline(self) -> Instant | None:
        return min((due for core in (self._client, self._server) if (due := core.deadline()) is not None), default=None)

    def handle_deadline(self, now: Now) -> Batch:
        due = (*self._client.handle_deadline(now.instant), *self._server.handle_deadline(now.instant))
        return self._batch(due, now)

    # Inside

    def _is(self, device: Eui64, kinds: frozenset[DeviceType]) -> bool:
        entry = self._devices.get(device)
        return entry is not None and entry.device_type in kinds

    def _hand(self, row: DeviceMessage, lifetime_s: float, now: Now) -> tunnel.Effects:
        """Raises UsageError where the tunnel refuses it for now."""
        core: tunnel.TunnelClient | tunnel.TunnelServer = self._client
        if self._is(row.device, _SERVER_OF):
            core = self._server
            self._server.serve(row.device)
        return core.send(row.device, str(row.id), row.message, now.instant, lifetime_s=lifetime_s)

    def _batch(self, effects: tunnel.Effects, now: Now) -> Batch:
        batch = Batch(now)
        for effect in effects:
            match effect:
                case tunnel.Send(peer, endpoint, payload):
                    batch.send(Outbound(peer, endpoint, zcl.CLUSTER, payload))
                case tunnel.DiscoverEndpoint(peer):
                    batch.start(partial(self._discover, peer))
                case tunnel.TunnelOpened(record):
                    batch.write(
                        partial(_remember_tunnel, record.peer, json.dumps(asdict(record))),
                        device=record.peer,
                        durable=False,
                    )
                    batch.event(Kind.TUNNEL_OPENED, {"tunnel": record.tunnel_id}, device=record.peer)
                case tunnel.TunnelLost(peer, reason):
                    batch.write(partial(_remember_tunnel, peer, "{}"), device=peer, durable=False)
                    batch.event(Kind.TUNNEL_CLOSED, {"reason": reason}, device=peer)
                case tunnel.MessageReceived(peer, data, token):
                    self._message_from(batch, peer, data, token)
                case tunnel.MessageDelivered(_, message_id):
                    self._messages.delivered(batch, message_id)
                case tunnel.MessageFailed(_, message_id, reason, expired):
                    self._messages.failed(batch, message_id, reason, expired=expired)
                case tunnel.Alarm(peer, text):
                    batch.event(Kind.ALARM, {"reason": text}, device=peer)
                case _:
                    assert_never(effect)
        return batch

    def _message_from(self, batch: Batch, peer: Eui64, data: bytes, token: tunnel.ReplyToken) -> None:
        """A GBCS message of a device: into the outbox as it came; its acknowledgement follows the write."""
        now = batch.now
        read = self._context.reader.read(peer, data, self._updates.for_device(peer), now.utc)
        alert = read.alert
        batch.write(lambda tx: tx.alerts.add(alert), device=peer)
        written = self._store.alerts.get(alert.msg_id)
        if written is None:
            self._note(batch, peer, read)
        elif written.message != data:
            reason = f"another message under the counter of alert {alert.msg_id} was dropped"
            batch.event(Kind.ALARM, {"reason": reason}, device=peer)
        batch.then(lambda: self._batch(self._client.accepted(token), now))

    def _note(self, batch: Batch, peer: Eui64, read: DeviceMessageRead) -> None:
        alert = read.alert
        fields: dict[str, str | bool] = {**alert.as_fields(), "verified": alert.verified}
        if read.answers is None:
            batch.event(Kind.ALERT_RECEIVED, fields, device=peer, update=alert.update)
        else:
            del fields["alert_code"]
            if read.believed and alert.verified:  # what nobody can check is passed on to no user, and answers nothing
                batch.write(partial(messages_to_devices.answered, peer, *read.answers, batch.now.utc))
            batch.event(Kind.RESPONSE_RECEIVED, fields, device=peer, update=alert.update)
        if read.signature is Signature.BAD:
            reason = f"alert {alert.msg_id} was relayed: its signature is not its originator's"
            batch.event(Kind.ALARM, {"reason": reason}, device=peer)
        if read.accepts:
            assert read.answers is not None
            asked = self._store.device_messages.asked(peer, *read.answers)
            if asked is not None:
                self._updates.tell(batch, peer, appointment(asked.message))
        for event in read.events:
            self._updates.tell(batch, peer, event)

    async def _discover(self, peer: Eui64) -> Batch:
        try:
            found = await self._context.radio.match_descriptor(peer, SMART_ENERGY_PROFILE, (zcl.CLUSTER,))
        except (RadioGoneError, TimedOutError) as error:
            _LOG.info("no Match_Desc from %s: %s", format_eui64(peer), error)
            found = ()
        now = self._context.clock.now()
        return self._batch(self._client.endpoints_found(peer, found, now.instant), now)


def _tunnel_key(device: Eui64) -> str:
    return f"tunnel of {format_eui64(device)}"


def _remember_tunnel(device: Eui64, text: str, tx: Transaction) -> None:
    tx.meta.set(_tunnel_key(device), text)
