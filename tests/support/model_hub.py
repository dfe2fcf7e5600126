"""The smallest honest counterpart of an emulated device: a stack without a radio, and a hub that serves one image.

Frames are written from the device's own codec tables, so this proves the device's behaviour, not its octets: those are
held by hand-written vectors and by tshark elsewhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from devices.nodes.flash import Flash
from devices.nodes.kinds import make_device
from devices.nodes.settings import PpmidSettings
from devices.stack.interface import ApsIndication, ApsRequest, ApsStatus, Endpoint, Eui64, NwkAddress
from devices.time import EventQueue
from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.ota_file import OtaHeader
from devices.wire.zcl import General, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from devices.nodes import events
    from devices.nodes.device import Device

HUB_ENDPOINT = 0x0B
DEVICE = Eui64(0x00DB_1234_5678_90A4)
SIGNING_KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
MANUFACTURER, IMAGE_TYPE, HARDWARE = 0x121D, 0x0084, 0x1111
OLD, NEW = 0x0001_0000, 0x0002_0000
START_UTC = 800_000_000  # ZigBee time at simulated second 0


def image(version: int = NEW, body_bytes: int = 3000, *, seed: int = 1, hardware=(0x1111, 0x1211), **fields) -> bytes:
    header = OtaHeader(
        **{"manufacturer": MANUFACTURER, "image_type": IMAGE_TYPE, "file_version": version, **fields},
        total_bytes=fields.get("header_bytes", 60) + body_bytes,
        text=b"test",
        hardware_versions=hardware,
    )
    return header.to_bytes() + Random(seed).randbytes(body_bytes)


def settings(**changes) -> PpmidSettings:
    return PpmidSettings(
        **{
            "eui64": DEVICE,
            "link_key": bytes(16),
            "signing_key": SIGNING_KEY,
            "manufacturer_code": MANUFACTURER,
            "image_type": IMAGE_TYPE,
            "hardware_version": HARDWARE,
            "file_version": OLD,
            **changes,
        }
    )


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[events.NodeEvent] = []

    def happened(self, eui64: Eui64, event: events.NodeEvent) -> None:
        assert eui64 == DEVICE
        self.events.append(event)

    def all(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


class WireStack:
    """A `DeviceStack` on a wire: joins after 0.1 s, delivers after 1 ms; `impair` may lose, delay or double frames."""

    def __init__(self, queue: EventQueue) -> None:
        self.ieee = DEVICE
        self.address = NwkAddress(0xFFFF)
        self.endpoints: dict[int, Endpoint] = {}
        self.joined = False
        self.poll_intervals: list[float | None] = []
        self.device: Device
        self.hub: ModelHub
        self.impair: Callable[[bytes], tuple[float, ...]] = lambda _payload: (0.001,)
        self.sent: list[ApsRequest] = []
        self._queue = queue
        self._boots = 0
        self._counter = 0

    def power_on(self) -> None:
        self._boots += 1
        boot = self._boots
        self._queue.call_later(0.1, lambda: self._join(boot))

    def power_off(self) -> None:
        self._boots += 1
        self.joined = False

    def join(self) -> None:
        self.power_on()

    def _join(self, boot: int) -> None:
        if boot == self._boots:
            self.joined, self.address = True, NwkAddress(0x1234)
            self.device.joined(self.address, rejoined=boot > 1)

    def set_poll_interval(self, seconds: float | None) -> None:
        self.poll_intervals.append(seconds)

    def maximum_payload(self, *, secured: bool) -> int:
        return 73 if secured else 82

    def match_descriptor(self, profile: int, server_clusters: tuple[int, ...], answer) -> None:
        assert profile == self.device.settings.profile
        found = (HUB_ENDPOINT,) if self.hub.serves(server_clusters) else ()
        self._queue.call_later(0.002, lambda: answer(found))

    def send(self, request: ApsRequest, confirm=None) -> int:
        assert self.joined, "sent while off the network"
        self._counter += 1
        self.sent.append(request)
        for delay in self.impair(request.payload):
            self._queue.call_later(delay, lambda: self.hub.received(request))
        if confirm is not None:
            self._queue.call_later(0.002, lambda: confirm(ApsStatus.SUCCESS))
        return self._counter

    def deliver(
        self,
        cluster: int,
        frame: ZclFrame,
        *,
        secured: bool | None = None,
        destination: int | None = None,
        source: int = 0x0000,
        profile: int | None = None,
        endpoint: int | None = None,
        octets: bytes | None = None,
    ) -> None:
        """From the hub to the device."""
        device = self.device.settings
        indication = ApsIndication(
            source=NwkAddress(source),
            source_ieee=Eui64(0xC0FFEE),
            destination=NwkAddress(self.address if destination is None else destination),
            profile=device.profile if profile is None else profile,
            cluster=cluster,
            source_endpoint=HUB_ENDPOINT,
            destination_endpoint=device.endpoint if endpoint is None else endpoint,
            payload=frame.to_bytes() if octets is None else octets,
            counter=0,
            secured=device.aps_security_required if secured is None else secured,
        )
        for delay in self.impair(indication.payload):
            self._queue.call_later(delay, lambda: self.joined and self.device.message_received(indication))


@dataclass
class ModelHub:
    """Serves `image` and does with Upgrade End what `upgrade_time` says; None stays silent, 0x95 and the like cancel."""

    stack: WireStack
    queue: EventQueue
    image: bytes | None = None
    upgrade_time: tuple[int, int] | None = (0, 0)
    silent: bool = False
    takes_alerts: bool = True
    opens_tunnel: bool = True
    page_gap: int = 0  # every n-th block of a page is not sent
    serves_pages: bool = True
    clusters: tuple[int, ...] = (ota.CLUSTER, time_cluster.CLUSTER)
    queries: list[ota.QueryNextImageRequest] = field(default_factory=list)
    blocks: list[ota.ImageBlockRequest] = field(default_factory=list)
    pages: list[ota.ImagePageRequest] = field(default_factory=list)
    ends: list[ota.UpgradeEndRequest] = field(default_factory=list)
    alerts: list[bytes] = field(default_factory=list)
    read: dict[int, dict[int, int | str]] = field(default_factory=dict)
    default_responses: list[tuple[int, zcl.DefaultResponse]] = field(default_factory=list)
    tunnel_frames: list[ZclFrame] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    tunnel_id: int | None = None
    _sequence: int = 0

    def serves(self, clusters: tuple[int, ...]) -> bool:
        return not self.silent and set(clusters) <= set(self.clusters)

    def next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFF
        return self._sequence

    def image_id(self) -> ota.ImageId:
        assert self.image is not None
        return ota.ImageId(*struct.unpack_from("<HHI", self.image, 10))

    def command(
        self,
        command: int,
        payload: bytes,
        *,
        sequence: int | None = None,
        cluster: int = ota.CLUSTER,
        from_server: bool = True,
        quiet: bool = True,
        **delivery,
    ) -> None:
        frame = ZclFrame(
            self.next_sequence() if sequence is None else sequence,
            command,
            payload,
            from_server=from_server,
            disable_default_response=quiet,
        )
        self.stack.deliver(cluster, frame, **delivery)

    def notify(self, **delivery) -> None:
        self.command(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes(), **delivery)

    def read_attributes(self, cluster: int, *identifiers: int, from_server: bool = False) -> None:
        frame = ZclFrame(
            self.next_sequence(),
            General.READ_ATTRIBUTES,
            zcl.read_attributes(identifiers),
            cluster_specific=False,
            from_server=from_server,
        )
        self.stack.deliver(cluster, frame)

    def open_tunnel(self, **changes) -> None:
        fields = {
            "protocol": 6,
            "manufacturer": 0xFFFF,
            "flow_control": False,
            "maximum_incoming_bytes": 1500,
            **changes,
        }
        self.command(0x00, tunneling.RequestTunnel(**fields).to_bytes(), cluster=tunneling.CLUSTER, from_server=False)

    def end_response(self, current: int, upgrade: int, **delivery) -> None:
        named = ota.ImageId(0xFFFF, 0xFFFF, 0xFFFFFFFF) if self.image is None else self.image_id()
        response = ota.UpgradeEndResponse(named, current, upgrade)
        self.command(ota.Command.UPGRADE_END_RESPONSE, response.to_bytes(), **delivery)

    def received(self, request: ApsRequest) -> None:
        if self.silent:
            return
        frame = ZclFrame.from_bytes(request.payload)
        self.sequences.append(frame.sequence)
        if not frame.cluster_specific:
            self._general(request, frame)
        elif request.cluster == ota.CLUSTER:
            self._ota(frame)
        elif request.cluster == tunneling.CLUSTER:
            self._tunnel(frame)

    def _general(self, request: ApsRequest, frame: ZclFrame) -> None:
        match frame.command:
            case General.READ_ATTRIBUTES:
                now = int(START_UTC + self.queue.now)
                record = zcl.attribute_record(0, zcl.Attribute(0, zcl.DataType.UTC_TIME, now))
                answer = ZclFrame(
                    frame.sequence,
                    General.READ_ATTRIBUTES_RESPONSE,
                    record,
                    cluster_specific=False,
                    from_server=True,
                    disable_default_response=True,
                )
                self.stack.deliver(request.cluster, answer)
            case General.READ_ATTRIBUTES_RESPONSE:
                values = zcl.parse_read_attributes_response(frame.payload)
                self.read.setdefault(request.cluster, {}).update(values)
            case General.DEFAULT_RESPONSE:
                self.default_responses.append((request.cluster, zcl.DefaultResponse.from_bytes(frame.payload)))

    def _ota(self, frame: ZclFrame) -> None:
        match frame.command:
            case ota.Command.QUERY_NEXT_IMAGE_REQUEST:
                self.queries.append(ota.QueryNextImageRequest.from_bytes(frame.payload))
                offer = ota.QueryNextImageResponse(0x98)
                if self.image is not None and self.queries[-1].image.file_version != self.image_id().file_version:
                    offer = ota.QueryNextImageResponse(0, self.image_id(), len(self.image))
                self.command(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, offer.to_bytes(), sequence=frame.sequence)
            case ota.Command.IMAGE_BLOCK_REQUEST:
                self.blocks.append(ota.ImageBlockRequest.from_bytes(frame.payload))
                self.block(self.blocks[-1].offset, self.blocks[-1].maximum_bytes, sequence=frame.sequence)
            case ota.Command.IMAGE_PAGE_REQUEST if self.serves_pages:
                self.pages.append(ota.ImagePageRequest.from_bytes(frame.payload))
                self._page(self.pages[-1])
            case ota.Command.UPGRADE_END_REQUEST:
                self.ends.append(ota.UpgradeEndRequest.from_bytes(frame.payload))
                if self.ends[-1].status:
                    self.stack.deliver(ota.CLUSTER, frame.default_response(0))
                elif self.upgrade_time is not None:
                    self.end_response(*self.upgrade_time, sequence=frame.sequence)
            case _:
                self.stack.deliver(ota.CLUSTER, frame.default_response(0x81))

    def block(self, offset: int, length: int, *, sequence: int | None = None) -> None:
        assert self.image is not None
        data = self.image[offset : offset + length]
        self.command(
            ota.Command.IMAGE_BLOCK_RESPONSE,
            ota.ImageBlock(self.image_id(), offset, data).to_bytes(),
            sequence=sequence,
        )

    def _page(self, page: ota.ImagePageRequest) -> None:
        assert self.image is not None
        end = min(page.offset + page.page_bytes, len(self.image))
        for index, offset in enumerate(range(page.offset, end, page.maximum_bytes)):
            if self.page_gap and index % self.page_gap == self.page_gap - 1:
                continue
            length = min(page.maximum_bytes, end - offset)
            self.queue.call_later(index * page.spacing_ms / 1000, lambda o=offset, n=length: self.block(o, n))

    def _tunnel(self, frame: ZclFrame) -> None:
        self.tunnel_frames.append(frame)
        match frame.command:
            case tunneling.ServerCommand.REQUEST_TUNNEL_RESPONSE:
                response = tunneling.RequestTunnelResponse.from_bytes(frame.payload)
                self.tunnel_id = response.tunnel_id if response.status == 0 else None
            case tunneling.ServerCommand.TRANSFER_DATA if self.takes_alerts:
                self.alerts.append(tunneling.TransferData.from_bytes(frame.payload).data)
                self.stack.deliver(tunneling.CLUSTER, frame.default_response(0))


class Rig:
    """One device, a PPMID by default, its flash, its hub, and simulated time."""

    def __init__(self, *, flash: Flash | None = None, hub_image: bytes | None = None, **changes) -> None:
        self.queue = EventQueue()
        self.flash = flash or Flash(sectors=42, sector_bytes=2048)
        self.recorder = Recorder()
        self.stack = WireStack(self.queue)
        self.hub = ModelHub(self.stack, self.queue, image=hub_image)
        self.stack.hub = self.hub
        self.device = self.make_device(changes)
        self.stack.device = self.device

    @classmethod
    def on(cls, seconds: float | None = None, *, hub: dict[str, Any] | None = None, **options) -> Self:
        """Switched on, with a hub that is so in the beginning; and so much later where it is said."""
        rig = cls(**options)
        for name, value in (hub or {}).items():
            setattr(rig.hub, name, value)
        rig.device.power_on()
        if seconds is not None:
            rig.run(seconds)
        return rig

    def make_device(self, changes: dict) -> Device:
        return make_device(
            self.stack, self.queue, Random(1), settings(**changes), flash=self.flash, listener=self.recorder
        )

    def run(self, seconds: float) -> None:
        self.queue.run_until(self.queue.now + seconds)

    def open_tunnel(self, after_s: float = 0.0) -> None:
        """The hub does so after a while, and a second goes by."""
        self.run(after_s)
        self.hub.open_tunnel()
        self.run(1)

    def run_until(self, condition: Callable[[], bool], *, limit_s: float = 3600.0) -> None:
        end = self.queue.now + limit_s
        while not condition():
            due = self.queue.next_due()
            assert due is not None, "nothing more happens"
            assert due <= end, "it never came to pass"
            self.queue.run_until(due)

    def saw(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.recorder.events)
