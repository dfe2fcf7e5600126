"""Key establishment in the hub: what the responder decides becomes computations, rows, and keys in the dongle.

The order of an installation is the store, the dongle, the device: each can be without the new key only if those after
it are too, and a device that was not told starts again.
"""

import logging
import math
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from chf import keys as ke
from chf.clock import Clock, Instant, Now
from chf.crypto.ecqv import Credentials, Suite
from chf.errors import RadioGoneError
from chf.eui64 import Eui64, format_eui64
from chf.hub.batch import Batch
from chf.hub.devices import KnownDevices
from chf.hub.key_agreement import KeyAgreement
from chf.radio.interface import Inbound, Outbound, Radio
from chf.store.device_log import DeviceEntry
from chf.store.store import Transaction
from chf.trace import Kind
from chf.zcl import key_establishment

_LOG = logging.getLogger(__name__)

_RETRY_S = 10.0  # a dongle that refused a key is not asked again at every frame (our choice)


class Keys:
    """`equip` makes it a responder; without, it only puts keys back that were established before."""

    def __init__(
        self,
        radio: Radio,
        devices: KnownDevices,
        clock: Clock,
        carry_out: Callable[[Batch], None],
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        established: Callable[[Eui64, Now], None],
        on_disk: Callable[[], Coroutine[Any, Any, bool]],
        settings: ke.KeyEstablishmentSettings,
    ) -> None:
        self._radio, self._devices, self._clock = radio, devices, clock
        self._carry_out, self._spawn, self._established = carry_out, spawn, established
        self._on_disk = on_disk
        self._responder = ke.Responder(settings)
        self._agreement: KeyAgreement | None = None
        self._missing: dict[Eui64, Instant] = {}  # whose keys the dongle did not take, and when to try again

    def equip(self, credentials: dict[Suite, Credentials]) -> None:
        self._agreement = KeyAgreement(credentials)
        self._responder.equip(own.certificate for own in credentials.values())

    @property
    def serving(self) -> bool:
        return self._agreement is not None

    def has_key(self, device: Eui64) -> bool:
        entry = self._devices.get(device)
        return entry is not None and entry.link_key is not None

    def receive(self, message: Inbound, now: Now) -> None:
        """A unicast frame of cluster 0x0800."""
        self._do(self._responder.receive(message.source, message.source_endpoint, message.payload, now), now)

    def forget(self, device: Eui64) -> None:
        self._missing.pop(device, None)
        self._responder.forget(device)

    def deadline(self) -> Instant | None:
        return self._responder.deadline()

    def handle_deadline(self, now: Now) -> None:
        self._do(self._responder.handle_deadline(now.instant), now)

    async def put_back(self) -> None:
        """Into a dongle that came up: it may be another one, or have lost its table.

        A Z-Stack dongle takes no key without an address. A device whose key it has not is heard by nobody, so that it
        is looked for; one that is not found is waited for (`heard`).
        """
        self._missing.clear()
        for entry in self._devices.all():
            if entry.link_key is not None and not await self._put_back(entry.eui64):
                self._missing[entry.eui64] = Instant(-math.inf)
        for entry in self._devices.joined():
            if entry.eui64 in self._missing and await self._is_located(entry.eui64):
                await self._put_back_late(entry.eui64)

    def heard(self, device: Eui64, now: Now) -> None:
        """It spoke, or announced itself: its address is known, and its key may be wanted."""
        if self._missing.get(device, math.inf) <= now.instant:
            self._missing[device] = Instant(now.instant + _RETRY_S)
            self._spawn(partial(self._put_back_late, device))

    async def _put_back_late(self, device: Eui64) -> None:
        if await self._put_back(device):
            self._established(device, self._clock.now())  # what the hub tried meanwhile was refused by the dongle

    async def _put_back(self, device: Eui64) -> bool:
        entry = self._devices.get(device)
        done = entry is not None and entry.link_key is not None and await self._install(device, entry.link_key)
        if done:
            self._missing.pop(device, None)
        return done

    async def _is_located(self, device: Eui64) -> bool:
        try:
            return await self._radio.locate(device)
        except RadioGoneError:
            return False

    def _do(self, effects: ke.Effects, now: Now) -> None:
        batch = Batch(now)
        for effect in effects:
            match effect:
                case ke.Send(peer, endpoint, payload):
                    cluster = key_establishment.CLUSTER
                    batch.send(Outbound(peer, endpoint, cluster, payload, aps_secured=False))
                case ke.Compute():
                    batch.then(partial(self._spawn_compute, effect))
                case ke.Install(token, suite, link_key):
                    self._write_key(batch, token, suite, link_key)
                case ke.Established(peer, suite):
                    batch.event(Kind.KEY_ESTABLISHED, {"suite": suite.value}, device=peer)
                    batch.then(partial(self._established, peer, now))
                case ke.Failed(peer, reason, status):
                    self._note_failure(batch, peer, reason, "" if status is None else status.name)
                case _:
                    assert_never(effect)
        self._carry_out(batch)

    def _note_failure(self, batch: Batch, peer: Eui64, reason: str, status: str) -> None:
        if self._devices.refuse(peer, batch.now) == 1:  # once between two writes: a flood must not fill the audit
            batch.event(Kind.KEY_FAILED, {"reason": reason, "status": status}, device=peer)

    def _spawn_compute(self, wanted: ke.Compute) -> None:
        async def compute() -> None:
            assert self._agreement is not None
            result = await self._agreement.compute(wanted)
            now = self._clock.now()
            self._do(self._responder.computed(wanted.token, result, now.instant), now)

        self._spawn(compute)

    def _write_key(self, batch: Batch, token: ke.Token, suite: Suite, link_key: bytes) -> None:
        device, utc = token.peer, batch.now.utc
        before = self._devices.get(device)
        if before is None:
            return  # forgotten meanwhile: the device will find out
        batch.write(
            lambda tx: self._devices.save(tx, device, link_key=link_key, key_suite=suite.value, key_utc=utc),
            durable=False,  # `_install_new` waits for the disk
        )
        batch.then(lambda: self._devices.saved(device))
        batch.then(lambda: self._spawn(partial(self._install_new, token, link_key, before)))

    async def _install_new(self, token: ke.Token, link_key: bytes, before: DeviceEntry) -> None:
        ok = await self._on_disk() and await self._install(token.peer, link_key, fresh=True)
        if ok:
            self._missing.pop(token.peer, None)
        now = self._clock.now()
        if not ok:
            batch = Batch(now)
            batch.write(partial(_put_back_row, before))
            batch.then(lambda: self._devices.saved(token.peer))
            self._carry_out(batch)
        self._do(self._responder.installed(token, now.instant, ok=ok), now)

    async def _install(self, device: Eui64, link_key: bytes, *, fresh: bool = False) -> bool:
        try:
            await self._radio.install_link_key(device, link_key, fresh=fresh)
        except RadioGoneError as error:
            _LOG.warning("the link key of %s is not in the dongle: %s", format_eui64(device), error)
            return False
        return True


def _put_back_row(before: DeviceEntry, tx: Transaction) -> None:
    """The key that the device still has."""
    entry = tx.devices.get(before.eui64)
    if entry is not None:
        kept = replace(entry, link_key=before.link_key, key_suite=before.key_suite, key_utc=before.key_utc)
        tx.devices.update(kept)
