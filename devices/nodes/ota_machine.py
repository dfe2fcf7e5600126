"""What the three stories of an OTA client share: its state, its one deadline, the image in question, and how it sends.

The stories are `ota_query`, `ota_download` and `ota_activation`, each of which may hand over to the next; `ota_client`
brings them what comes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.nodes.cluster import Discover, Effects, Send
from devices.nodes.ota_states import TRANSITIONS, Event, State
from devices.wire import ota
from devices.wire.zcl import ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from devices.nodes.cluster import Clock
    from devices.nodes.image_bank import Download, ImageBanks
    from devices.nodes.journal import Key
    from devices.nodes.personality import Span
    from devices.nodes.settings import FirmwareSettings


@dataclass(slots=True)
class OtaMachine:
    """From one boot to the next. `deadline` is simulated seconds, None where nothing is waited for."""

    settings: FirmwareSettings
    banks: ImageBanks
    random: Random
    clock: Clock
    next_sequence: Callable[[], int]
    state: State = State.OFF
    deadline: float | None = None
    wanted: Download | None = None  # the image that this is all about
    misses: int = 0  # requests of the current kind in a row that nobody answered
    endpoint: int = 0  # the server's
    secured: bool | None = None  # how its requests are protected; None as the device demands

    def go(self, event: Event) -> bool:
        """Move as `ota_states` says; False where this event means nothing in this state."""
        target = TRANSITIONS[self.state].get(event)
        if target is None:
            return False
        self.state = target
        return True

    def idle(self, event: Event, now: float) -> bool:
        """Wait for the next query, where this event ends what the client is at."""
        if not self.go(event):
            return False
        self.misses = 0
        self.deadline = now + self.draw(self.settings.query_interval_s, self.settings.personality.query_interval_s)
        return True

    def seek(self, event: Event, now: float) -> Effects:
        """Look for a server, where this event leads to that."""
        if not self.go(event):
            return []
        self.misses = 0
        self.deadline = now + self.settings.personality.discovery_interval_s
        return [Discover()]

    def draw(self, set_s: float | None, span: Span) -> float:
        """What the device's settings say or, where they say nothing, something within `span`."""
        if set_s is not None:
            return set_s
        low, high = span
        return low if low == high else self.random.uniform(low, high)

    def send(self, command: ota.Command, payload: bytes) -> Send:
        return Send(ZclFrame(self.next_sequence(), command, payload), self.endpoint, secured=self.secured)

    def upgrade_end(self, status: int, image: ota.ImageId | None = None) -> Effects:
        """Upgrade End Request; `image` where it is not about the one that is wanted."""
        if image is None and self.wanted is not None:
            image = self.wanted.image
        if image is None:
            return []
        return [self.send(ota.Command.UPGRADE_END_REQUEST, ota.UpgradeEndRequest(status, image).to_bytes())]

    def time(self, now: float) -> int | None:
        """ZigBee time, for a client of the Time cluster that knows it."""
        return self.clock.known(now) if self.settings.personality.has_time else None

    def forget(self, *, keep: bool, also: dict[Key, bytes | None] | None = None) -> None:
        """Give up what is stored of the image unless it is to `keep`; `also` goes into the same record."""
        if not keep:
            self.banks.discard(also or {})
