"""Transfers on a table: two clocks, a row that remembers what it is told to, and hands that type frames.

The bench fails when a message says what the row does not know.
"""

from hashlib import sha256
from typing import TypeVar

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.image.header import HardwareVersions, ImageType, OtaHeader
from chf.image.image import FirmwareImage, ImageKind
from chf.update import model
from chf.update.clients import CLASSES, ClientClass
from chf.update.effects import Alarm, AlarmKind, Send, Token, Told, TransferChanged, TransferMoved
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.transfers import Transfers
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status

PPMID = Eui64(0x00_DB_12_34_56_78_90_A4)
ENDPOINT = 3
MANUFACTURER, IMAGE_TYPE, OLD, NEW, HARDWARE = 0x10D8, 0x0004, 0x0000_0001, 0x0000_0002, 2
START_UTC = UtcSeconds(1_800_000_000.0)
IDS = (MANUFACTURER, IMAGE_TYPE, NEW)
MADE_FOR = ImageType(MANUFACTURER, IMAGE_TYPE)

E = TypeVar("E", bound=Told)
Effects = tuple[Told, ...]


def image(size: int = 1000, file_version: int = NEW, **changes: object) -> FirmwareImage:
    """One that was not parsed: to whom it is served, its bytes mean nothing."""
    content = bytes((31 * i + i // 256) % 256 for i in range(size))
    fields = {"hardware_versions": HardwareVersions(1, 3), **changes}
    header = OtaHeader(MANUFACTURER, IMAGE_TYPE, file_version, bytes(32), size, **fields)
    digest = sha256(content).hexdigest()
    return FirmwareImage(ImageKind.STANDARD, header, content, content, (), None, None, digest, digest)


def only(kind: type[E], effects: Effects) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


class Bench:
    def __init__(self, policy: OtaPolicy | None = None, client: ClientClass = CLASSES["silicon-labs"]) -> None:
        self.policy, self.client = policy or OtaPolicy(), client
        self.begin()
        self.instant = 1000.0
        self.utc = float(START_UTC)
        self.trusted = True
        self.stored: dict[Eui64, model.TransferRecord] = {}
        self.image = image()
        self.history: list[Told] = []
        self.sequence = 0

    def begin(self) -> None:
        """A process begins, which is told of what class the device's client is."""
        self.server = Transfers(self.policy)
        self.server.client_known(PPMID, self.client, Now(Instant(0.0), START_UTC))

    @property
    def now(self) -> Now:
        return Now(Instant(self.instant), UtcSeconds(self.utc), "" if self.trusted else "it was set")

    def advance(self, seconds: float) -> None:
        """Let time pass without a look at deadlines."""
        self.instant += seconds
        self.utc += seconds

    def run(self, seconds: float) -> Effects:
        """Let time pass and keep every deadline in it."""
        effects: Effects = ()
        end = self.instant + seconds
        while (deadline := self.server.deadline()) is not None and deadline <= end:
            self.advance(max(deadline - self.instant, 0))
            effects += self.carry_out(self.due())
            assert self.server.deadline() is None or self.server.deadline() > self.instant, "a deadline that stays due"
        self.advance(end - self.instant)
        return effects

    def due(self) -> Effects:
        """Have what is due done, and no more."""
        return tuple(item for _, told in self.server.handle_deadline(self.now) for item in told)

    def carry_out(self, effects: Effects, *, report: bool = True) -> Effects:
        for effect in effects:
            self.history.append(effect)
            match effect:
                case TransferChanged(record):
                    assert model.TransferRecord.from_json(record.to_json()) == record
                    self.stored[PPMID] = record
                case TransferMoved(new=state):
                    assert self.stored[PPMID].state is state, "told before it was written down"
                case Send():
                    self._check_persisted(effect)
                    if report:
                        effects += self.carry_out(self.server.delivered(effect.peer, effect.token, True, self.now))
        return effects

    def _check_persisted(self, send: Send) -> None:
        if send.token in (Token.HOLD, Token.COMMIT):
            record = self.stored[send.peer]
            assert record.downloaded
            assert (record.committed_utc is not None) or send.token is Token.HOLD

    # What the hub asks for

    def offer(
        self, activation: model.Activation | None = None, *, of: FirmwareImage | None = None, update: int = 1, **options
    ) -> Effects:
        of = of or image()
        self.image = of
        wanted = model.ActivateNow() if activation is None else activation
        allow = options.pop("allow_downgrade", False)
        self.update = model.accept(
            number=model.UpdateId(update),
            device=PPMID,
            image=of.sha256,
            image_type=of.header.made_for,
            file_version=of.header.file_version,
            activation=wanted,
            origin="test",
            version_before=None,
            now_utc=self.now.utc,
            lifetime_s=1e6,
            allow_downgrade=allow,
        )
        return self.carry_out(self.server.offer(self.update, of, self.now, **options))

    def restart(self, down_s: float = 0.0) -> Effects:
        """The process dies; another one begins from what was persisted."""
        self.advance(down_s)
        self.instant = 5.0  # of no meaning beyond a process
        self.begin()
        effects: Effects = ()
        for record in tuple(self.stored.values()):
            restored = model.TransferRecord.from_json(record.to_json())
            effects += self.carry_out(self.server.restore(self.update, restored, self.image, self.now))
        return effects

    @property
    def state(self) -> model.TransferState:
        return self.record().state

    def record(self) -> model.TransferRecord:
        return self.server.get(PPMID).record()

    # What the device says

    def hear(self, body: zcl.ClientCommand, *, report: bool = True, peer: Eui64 = PPMID) -> Effects:
        self.sequence = (self.sequence + 1) % 256
        octets = zcl.command(body, self.sequence)
        return self.carry_out(self.server.receive(peer, ENDPOINT, octets, self.now), report=report)

    def hear_octets(self, octets: bytes) -> Effects:
        return self.carry_out(self.server.receive(PPMID, ENDPOINT, octets, self.now))

    def query(self, version: int = OLD, hardware: int | None = HARDWARE) -> Effects:
        return self.hear(zcl.QueryNextImageRequest(MANUFACTURER, IMAGE_TYPE, version, hardware))

    def ask_block(
        self, offset: int, size: int = 50, ids: tuple[int, int, int] = IDS, *, report: bool = True
    ) -> Effects:
        return self.hear(zcl.ImageBlockRequest(*ids, offset, size), report=report)

    def fate(self, *, delivered: bool) -> tuple[Send, ...]:
        """What is sent on hearing what became of a block."""
        return tuple(only(Send, self.server.delivered(PPMID, Token.BLOCK, delivered, self.now)))

    def ask_page(self, offset: int, page: int, size: int = 32, spacing_ms: int = 50) -> Effects:
        return self.hear(zcl.ImagePageRequest(*IDS, offset, size, page, spacing_ms))

    def end(self, status: int = Status.SUCCESS) -> Effects:
        return self.hear(zcl.UpgradeEndRequest(status, *IDS))

    def download(self, start: int = 0, size: int = 50) -> bytes:
        """Ask block after block until the end, or until told to wait."""
        got = b""
        total = self.server.get(PPMID).size_bytes
        while start + len(got) < total:
            self.advance(0.01)
            effects = self.ask_block(start + len(got), size)
            if not only(Send, effects):
                break  # it is answered late
            response = block_response(effects)
            if not isinstance(response, zcl.ImageBlock):
                break
            assert response.offset_bytes == start + len(got)
            got += response.data
        return got

    def served(self) -> None:
        """From the query to the last block."""
        self.query()
        self.download()


def answer(effects: Effects) -> Frame:
    """The one frame that was sent."""
    (send,) = only(Send, effects)
    return Frame.from_bytes(send.payload)


def block_response(effects: Effects) -> zcl.ImageBlockResponse:
    frame = answer(effects)
    assert (frame.frame_type, frame.command) == (FrameType.CLUSTER, zcl.ImageBlock.COMMAND)
    return zcl.parse_image_block_response(frame.payload)


def blocks(effects: Effects) -> list[zcl.ImageBlock]:
    frames = (Frame.from_bytes(send.payload) for send in only(Send, effects))
    responses = (zcl.parse_image_block_response(f.payload) for f in frames if f.command == zcl.ImageBlock.COMMAND)
    return [response for response in responses if isinstance(response, zcl.ImageBlock)]


def query_response(effects: Effects) -> zcl.QueryNextImageResponse:
    frame = answer(effects)
    assert frame.command == zcl.QueryNextImageResponse.COMMAND
    return zcl.QueryNextImageResponse.from_bytes(frame.payload)


def default_response(effects: Effects) -> DefaultResponse:
    frame = answer(effects)
    assert (frame.frame_type, frame.command) == (FrameType.GLOBAL, DefaultResponse.COMMAND)
    return DefaultResponse.from_bytes(frame.payload)


def end_response(effects: Effects) -> zcl.UpgradeEndResponse:
    """The one Upgrade End Response that was sent, whatever else was."""
    (response,) = end_responses(effects)
    return response


def end_responses(effects: Effects) -> list[zcl.UpgradeEndResponse]:
    frames = (Frame.from_bytes(send.payload) for send in only(Send, effects))
    return [
        zcl.UpgradeEndResponse.from_bytes(frame.payload)
        for frame in frames
        if frame.frame_type is FrameType.CLUSTER and frame.command == zcl.UpgradeEndResponse.COMMAND
    ]


def notifies(effects: Effects) -> list[Send]:
    return [send for send in only(Send, effects) if send.token is Token.NOTIFY]


def alarms(effects: Effects) -> list[AlarmKind]:
    return [alarm.kind for alarm in only(Alarm, effects)]


def at(seconds: float, **how) -> model.ActivateAt:
    return model.ActivateAt(START_UTC + seconds, **how)


def finished(activation, policy: OtaPolicy | None = None, **client: ClientClass) -> Bench:
    """A device that was sent every byte and is about to say so."""
    bench = Bench(policy, **client)
    bench.offer(activation)
    bench.served()
    return bench


def answered(activation, policy: OtaPolicy | None = None, **client: ClientClass) -> Bench:
    """A device that has every byte, said so, and was told when to activate, or to wait."""
    bench = finished(activation, policy, **client)
    bench.end()
    return bench
