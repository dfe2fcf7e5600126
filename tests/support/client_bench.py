"""An OTA client on a table: the test is its server, and its clock."""

from __future__ import annotations

from random import Random

import pytest

from devices.nodes import events
from devices.nodes.cluster import Clock, Restart, Send
from devices.nodes.flash import Flash
from devices.nodes.image_bank import ImageBanks
from devices.nodes.journal import Journal
from devices.nodes.ota_client import OtaClient
from devices.nodes.ota_states import State
from devices.nodes.personalities import SPEC_STRICT
from devices.stack.interface import ApsIndication
from devices.wire import ota, zcl
from devices.wire.zcl import ZclFrame
from tests.support.model_hub import HUB_ENDPOINT, IMAGE_TYPE, MANUFACTURER, NEW, OLD, START_UTC, image, settings

FOREVER = 0xFFFF_FFFF
WANTED = ota.ImageId(MANUFACTURER, IMAGE_TYPE, NEW)
ANY = ota.ImageId(0xFFFF, 0xFFFF, FOREVER)


def wanted(**changes: int) -> ota.ImageId:
    """`WANTED`, but for one of its fields."""
    return WANTED._replace(**changes)


def by_personality(names: tuple[str, ...], *table: tuple) -> pytest.MarkDecorator:
    """One test for each row of what personalities do in their own way; the first column is the personality."""
    rows = [pytest.param(*row, id=f"{row[0].name}-{index}") for index, row in enumerate(table)]
    return pytest.mark.parametrize(names, rows)


def heard(*, source=0x0000, source_ieee=0xC0FFEE, destination=0x1234, secured=True) -> ApsIndication:
    """How a frame of the hub came, for a cluster that is handed one."""
    return ApsIndication(source, source_ieee, destination, 0x0109, 0, HUB_ENDPOINT, 3, b"", 0, secured)


class ClientBench:
    """A client whose server is this test."""

    def __init__(
        self,
        personality=SPEC_STRICT,
        *,
        octets: bytes | None = None,
        knows_time: bool = True,
        random: Random | None = None,
        **changes,
    ):
        self.random = random or Random(5)
        self.image = image() if octets is None else octets
        self.now = 0.0
        self.flash = Flash(sectors=42)
        self.settings = settings(personality=personality, **changes)
        self.knows_time = knows_time
        self._sequence = 0
        self.effects: list = []
        self.boot()

    def boot(self) -> None:
        journal = Journal(self.flash)
        self.banks = ImageBanks(self.flash, journal)
        if self.banks.is_blank():
            self.banks.install_factory_image(image(OLD, 20))
        self.banks.boot()
        clock = Clock(0)
        if self.knows_time:
            clock.set(START_UTC, 0.0)
        self.client = OtaClient(self.settings, self.banks, self.random, clock=clock, next_sequence=self._next)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence & 0xFF

    def reboot(self) -> None:
        """It finds its server again; what it sent before is forgotten."""
        self.effects.clear()
        self.boot()
        self.found()

    @property
    def state(self) -> State:
        return self.client.state

    @property
    def wait_s(self) -> float | None:
        return None if self.client.deadline is None else self.client.deadline - self.now

    def take(self, effects: list) -> list:
        self.effects += effects
        return effects

    def requests(self, effects: list | None = None) -> list[tuple[int, bytes]]:
        frames = [effect.frame for effect in (self.effects if effects is None else effects) if isinstance(effect, Send)]
        return [(frame.command, frame.payload) for frame in frames]

    def all(self, kind: type) -> list:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def give(self, command: int, payload: bytes, *, unicast: bool = True, secured: bool = True) -> int:
        frame = ZclFrame(0, command, payload, from_server=True)
        indication = heard(destination=0x1234 if unicast else 0xFFFD, secured=secured)
        status, effects = self.client.receive(frame, indication, self.now)
        self.take(effects)
        return status

    def status(self, command: int, status: int) -> None:
        self.take(self.client.receive_default_response(0, zcl.DefaultResponse(command, status), self.now))

    def wait(self) -> list:
        """Jump to the deadline."""
        assert self.client.deadline is not None, "it waits for nothing"
        self.now = self.client.deadline
        return self.take(self.client.handle_deadline(self.now))

    def found(self) -> None:
        self.take(self.client.start(self.now))
        self.take(self.client.found(HUB_ENDPOINT, self.now))

    def queried(self) -> None:
        self.found()
        self.wait()
        assert self.state is State.QUERYING

    def offer(self, identity: ota.ImageId = WANTED, size: int | None = None) -> None:
        size = len(self.image) if size is None else size
        self.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, ota.QueryNextImageResponse(0, identity, size).to_bytes())

    def offered_again(self) -> None:
        """An abort ends the download, and the same image is offered once more."""
        self.give(ota.Command.IMAGE_BLOCK_RESPONSE, bytes((zcl.Status.ABORT,)))
        if self.state is State.SEEKING:
            self.take(self.client.found(HUB_ENDPOINT, self.now))
        self.wait()
        self.offer()

    def fetching(self) -> None:
        self.queried()
        self.offer()
        assert self.state is State.FETCHING

    def block(self, offset: int, length: int = 50, *, identity: ota.ImageId = WANTED) -> None:
        data = self.image[offset : offset + length]
        self.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(identity, offset, data).to_bytes())

    def wait_for_data(self, current: int, request: int, period: int | None = None) -> None:
        self.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.WaitForData(current, request, period).to_bytes())

    def serve(self) -> None:
        """The block that was asked for last, once it is asked for."""
        if self.state is State.PAUSED:
            self.wait()
        asked = self.asks_block()
        self.block(asked.offset, min(asked.maximum_bytes, len(self.image) - asked.offset))

    def load(self, offset: int | None = None) -> None:
        """Serve until it has that much, or until the download ends."""
        while self.state in {State.FETCHING, State.PAUSED}:
            if offset is not None and self.banks.offset >= offset:
                return
            self.serve()

    def download(self) -> None:
        self.fetching()
        self.load()

    def ending(self) -> None:
        self.download()
        assert self.state is State.ENDING

    def end(self, current: int, upgrade: int, identity: ota.ImageId = ANY) -> int:
        return self.give(
            ota.Command.UPGRADE_END_RESPONSE, ota.UpgradeEndResponse(identity, current, upgrade).to_bytes()
        )

    def ends(self) -> list[ota.UpgradeEndRequest]:
        """The Upgrade Ends that it has sent."""
        sent = [payload for command, payload in self.requests() if command == ota.Command.UPGRADE_END_REQUEST]
        return [ota.UpgradeEndRequest.from_bytes(payload) for payload in sent]

    def asks_block(self, effects: list | None = None) -> ota.ImageBlockRequest:
        command, payload = self.requests(effects)[-1]
        assert command == ota.Command.IMAGE_BLOCK_REQUEST
        return ota.ImageBlockRequest.from_bytes(payload)

    def activated(self) -> bool | None:
        """None: no. Otherwise whether it was its own idea."""
        if not self.all(Restart):
            return None
        return self.all(events.Activating)[-1].by_itself

    def silence(self) -> int:
        """Let its requests go unanswered until it changes its mind; how many were sent."""
        before = len(self.requests())
        state = self.state
        while self.state is state:
            self.wait()
        return len(self.requests()) - before
