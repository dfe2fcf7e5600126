"""Key establishment in the hub: what the responder decides becomes computations, rows, and keys in the dongle.

A new key goes into the store first, then into the dongle, and only then the device hears that the hub has it. Where
that is cut off, the device was not told, and starts again.
"""

import asyncio
import logging
import math
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from chf import keys as ke
from chf.clock import Instant, Now
from chf.crypto.ecqv import Suite
from chf.errors import RadioGoneError, StoreError
from chf.eui64 import Eui64, format_eui64
from chf.hub.batch import Batch, DeviceChange
from chf.hub.gate import reply
from chf.hub.handler import Handler, HubContext, unsupported
from chf.hub.key_agreement import KeyAgreement
from chf.hub.settings import SecurityMode
from chf.pki.zigbee import ZigbeePki
from chf.radio.interface import Inbound, NetworkInfo, Outbound
from chf.store.device_log import DeviceEntry
from chf.store.store import Transaction
from chf.trace import Kind
from chf.zcl import key_establishment

_LOG = logging.getLogger(__name__)

RETRY_S: Final = 10.0  # a dongle that refused a key is not asked again at every message (our choice)


class Keys(Handler):
    """A responder where the settings demand key establishment; otherwise it only puts earlier keys into the dongle."""

    def __init__(self, context: HubContext) -> None:
        self._context, self._devices = context, context.devices
        self._responder = ke.Responder(context.settings.key_establishment)
        self._agreement: KeyAgreement | None = None
        self._missing: dict[Eui64, Instant] = {}  # whose keys the dongle refused, and when to try again
        self._before: dict[Eui64, DeviceEntry] = {}  # with the key that the device has while another is installed
        self._installing = asyncio.Lock()  # a key that came later stays in the dongle, too

    def started(self, network: NetworkInfo | None, now: Now) -> Batch:
        """Raises UsageError where there is no certificate for this dongle, whose EUI-64 devices insist on."""
        if self._context.settings.security.mode is SecurityMode.CBKE and network is not None:
            credentials = ZigbeePki(self._context.pki.path / "zigbee").held_by(network.coordinator)
            self._agreement = KeyAgreement(credentials)
            self._responder.equip(own.certificate for own in credentials.values())
        return self.radio_returned(now)

    def radio_returned(self, now: Now) -> Batch:
        batch = Batch(now)
        batch.start(self._put_back_all)
        return batch

    def receive(self, message: Inbound, now: Now) -> Batch:
        if self._agreement is None:
            batch = Batch(now)
            if (payload := unsupported(message, now)) is not None:
                batch.send(reply(message, payload, secured=False))
            return batch
        return self._batch(self._responder.receive(message.source, message.source_endpoint, message.payload, now), now)

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        if change in (DeviceChange.FORGOTTEN, DeviceChange.UNWRITTEN):
            self._missing.pop(device, None)
            self._before.pop(device, None)
            self._responder.forget(device)
        return Batch(now)

    def deadline(self) -> Instant | None:
        return self._responder.deadline()

    def handle_deadline(self, now: Now) -> Batch:
        return self._batch(self._responder.handle_deadline(now.instant), now)

    def heard(self, device: Eui64, now: Now) -> Batch | None:
        """It spoke, or announced itself: its address is known, and its key may be missing in the dongle."""
        if self._missing.get(device, math.inf) > now.instant:
            return None
        self._missing[device] = Instant(now.instant + RETRY_S)
        batch = Batch(now)
        batch.start(partial(self._put_back_late, device))
        return batch

    async def _put_back_all(self) -> Batch:
        """Into a dongle that came up: it may be another one, or have lost its table.

        A Z-Stack dongle accepts no key for a device without an address, and drops what a device without a key says. So
        such a device is looked for; the key of one that is not found waits until it is `heard`.
        """
        self._missing.clear()
        for entry in self._devices.all():
            if entry.link_key is not None and not await self._put_back(entry.eui64):
                self._missing[entry.eui64] = Instant(-math.inf)
        batch = Batch(self._context.clock.now())
        for entry in self._devices.joined():
            if entry.eui64 in self._missing and await self._is_located(entry.eui64):
                batch.add(await self._put_back_late(entry.eui64))
        return batch

    async def _put_back_late(self, device: Eui64) -> Batch:
        is_back = await self._put_back(device)
        batch = Batch(self._context.clock.now())
        if is_back:
            batch.changed(device, DeviceChange.ARRIVED)  # what the hub tried meanwhile was refused by the dongle
        return batch

    async def _put_back(self, device: Eui64) -> bool:
        entry = self._devices.get(device)
        done = entry is not None and entry.link_key is not None and await self._install(device, entry.link_key)
        if done:
            self._missing.pop(device, None)
        return done

    async def _is_located(self, device: Eui64) -> bool:
        try:
            return await self._context.radio.locate(device)
        except RadioGoneError:
            return False

    def _batch(self, effects: ke.Effects, now: Now) -> Batch:
        batch = Batch(now)
        for effect in effects:
            match effect:
                case ke.Send(peer, endpoint, payload):
                    cluster = key_establishment.CLUSTER
                    batch.send(Outbound(peer, endpoint, cluster, payload, aps_secured=False))
                case ke.Compute():
                    batch.start(partial(self._compute, effect))
                case ke.Install(token, suite, link_key):
                    self._write_key(batch, token, suite, link_key)
                case ke.Established(peer, suite):
                    batch.event(Kind.KEY_ESTABLISHED, {"suite": suite.value}, device=peer)
                    batch.changed(peer, DeviceChange.ARRIVED)
                case ke.Failed(peer, reason, status):
                    self._note_failure(batch, peer, reason, "" if status is None else status.name)
                case _:
                    assert_never(effect)
        return batch

    def _note_failure(self, batch: Batch, peer: Eui64, reason: str, status: str) -> None:
        if self._devices.refuse(peer, batch.now) == 1:  # once between two writes: a flood must not fill the audit
            batch.event(Kind.KEY_FAILED, {"reason": reason, "status": status}, device=peer)

    async def _compute(self, wanted: ke.Compute) -> Batch:
        assert self._agreement is not None
        result = await self._agreement.compute(wanted)
        now = self._context.clock.now()
        return self._batch(self._responder.computed(wanted.token, result, now.instant), now)

    def _write_key(self, batch: Batch, token: ke.Token, suite: Suite, link_key: bytes) -> None:
        device, utc = token.peer, batch.now.utc
        entry = self._devices.get(device)
        if entry is None:
            return  # forgotten meanwhile: the device will find out
        self._before.setdefault(device, entry)  # an earlier installation may be under way, whose key nobody has
        batch.write(
            lambda tx: self._devices.save(tx, device, link_key=link_key, key_suite=suite.value, key_utc=utc),
            device=device,
            durable=False,  # `_install_new` waits for the disk
        )
        batch.then(lambda: self._devices.saved(device))
        batch.start(partial(self._install_new, token, link_key))

    async def _install_new(self, token: ke.Token, link_key: bytes) -> Batch:
        ok = await self._is_on_disk()
        async with self._installing:
            ok = ok and self._is_newest(token.peer, link_key) and await self._install(token.peer, link_key, fresh=True)
        batch = Batch(self._context.clock.now())
        ok = ok and self._is_newest(token.peer, link_key)
        effects = self._responder.installed(token, batch.now.instant, ok=ok)
        if self._is_newest(token.peer, link_key):
            before = self._before.pop(token.peer, None)
            if ok and effects:
                self._missing.pop(token.peer, None)
            elif before is not None:  # also where the device gave up meanwhile: it is not told of this key
                self._take_back(batch, before, link_key)
        batch.add(self._batch(effects, batch.now))
        return batch

    def _is_newest(self, device: Eui64, link_key: bytes) -> bool:
        """Whether its row has this key: another may have been established meanwhile, or it is to join anew."""
        entry = self._devices.get(device)
        return entry is not None and entry.link_key == link_key

    def _take_back(self, batch: Batch, before: DeviceEntry, link_key: bytes) -> None:
        device = before.eui64
        batch.write(partial(_put_back_row, before, link_key), device=device)
        batch.then(lambda: self._devices.saved(device))
        if before.link_key is not None:
            self._missing[device] = Instant(-math.inf)
            batch.start(partial(self._put_back_late, device))

    async def _is_on_disk(self) -> bool:
        try:
            await asyncio.to_thread(self._context.store.sync)
        except StoreError as error:
            _LOG.warning("a new link key is not on disk: %s", error)
            return False
        return True

    async def _install(self, device: Eui64, link_key: bytes, *, fresh: bool = False) -> bool:
        try:
            await self._context.radio.install_link_key(device, link_key, fresh=fresh)
        except RadioGoneError as error:
            _LOG.warning("the link key of %s is not in the dongle: %s", format_eui64(device), error)
            return False
        return True


def _put_back_row(before: DeviceEntry, link_key: bytes, tx: Transaction) -> None:
    """The key that the device still has, where no later one is written."""
    entry = tx.devices.get(before.eui64)
    if entry is not None and entry.link_key == link_key:
        kept = replace(entry, link_key=before.link_key, key_suite=before.key_suite, key_utc=before.key_utc)
        tx.devices.update(kept)
