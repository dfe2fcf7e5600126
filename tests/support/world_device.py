"""The device of an `update_world`: an OTA client with its power, its flash and its radio.

It knows nothing of the rest of the world: it is told the instant, and answers with frames and effects.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from devices.nodes import cluster
from devices.nodes.firmware import Firmware
from devices.nodes.flash import Flash
from devices.nodes.ota_client import OtaClient
from devices.nodes.settings import PpmidSettings
from devices.stack.interface import ApsIndication
from devices.wire import ota, zcl
from devices.wire.zcl import General, Status, ZclFrame
from tests.support.model_hub import HARDWARE, HUB_ENDPOINT, IMAGE_TYPE, MANUFACTURER, OLD

REBOOT_S = 1.0
JOIN_S = 0.1


class Middle(Random):
    """A die that always shows the middle: what is drawn is drawn by the schedule."""

    def random(self) -> float:
        return 0.5


@dataclass
class Device:
    settings: PpmidSettings
    powered: bool = False
    boot_at: float | None = None
    join_at: float | None = None
    client: OtaClient | None = None
    version: int = OLD
    told_outcome: bool = True
    starts_new: bool = False  # it was asked whether it may; a bare reset was not
    mute: int = 0

    def __post_init__(self) -> None:
        self.flash = Flash(sectors=6, sector_bytes=2048)
        self.firmware = Firmware(self.flash, self.settings)
        self.clock = cluster.Clock(0)

    def due(self) -> float | None:
        client_due = self.client.deadline if self.client is not None and self.powered else None
        return min((each for each in (self.boot_at, self.join_at, client_due) if each is not None), default=None)

    @staticmethod
    def sequence() -> int:
        """Nobody looks at them here: all are 0, so that equal states look equal."""
        return 0

    @property
    def joined(self) -> bool:
        return self.powered and self.client is not None and self.join_at is None

    def has_everything(self) -> bool:
        if self.client is None:
            return False
        banks = self.firmware.banks
        return banks.download is not None and banks.offset == banks.download.size_bytes

    def cut(self, until: float) -> None:
        """Without power until then."""
        self.powered, self.client, self.join_at, self.boot_at = False, None, None, until

    def boot(self, at: float) -> bool:
        """Whether it runs: a firmware that does not boot is tried again."""
        booted = self.firmware.boot()
        if booted is None:
            self.boot_at = at + REBOOT_S
            return False
        self.powered, self.boot_at, self.version = True, None, booted.file_version
        return True

    def begin(self, at: float) -> None:
        """What runs begins to join, without a time and a server."""
        self.starts_new = False
        self.clock = cluster.Clock(0)
        self.client = OtaClient(
            self.settings, self.firmware.banks, Middle(), clock=self.clock, next_sequence=self.sequence
        )
        self.join_at = at + JOIN_S

    @staticmethod
    def other_query(runs: int) -> bytes:
        """It asks for its other image, of which it runs this version."""
        request = ota.QueryNextImageRequest(ota.ImageId(MANUFACTURER, IMAGE_TYPE + 1, runs), HARDWARE)
        return ZclFrame(0, ota.Command.QUERY_NEXT_IMAGE_REQUEST, request.to_bytes()).to_bytes()

    def hear(self, payload: bytes, at: float) -> tuple[bytes | None, Iterable[object]]:
        """Its answer, if it has one, and what the client does."""
        assert self.client is not None
        frame = ZclFrame.from_bytes(payload)
        if frame.cluster_specific:
            indication = ApsIndication(0x0000, 0xC0FFEE, 0x1234, 0x0109, ota.CLUSTER, HUB_ENDPOINT, 3, payload, 0, True)
            status, effects = self.client.receive(frame, indication, at)
            answers = status is not None and (status != Status.SUCCESS or not frame.disable_default_response)
            return frame.default_response(status).to_bytes() if answers else None, effects
        if frame.command == General.DEFAULT_RESPONSE:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            return None, self.client.receive_default_response(frame.sequence, response, at)
        if frame.command == General.READ_ATTRIBUTES:
            return self._read_answer(frame, self.client), ()
        return None, ()

    def _read_answer(self, frame: ZclFrame, client: OtaClient) -> bytes:
        known = {each.identifier: each for each in client.attributes()}
        if self.mute:
            self.mute -= 1
            version = ota.AttributeId.CURRENT_FILE_VERSION
            known[version] = replace(known[version], value=0xFFFF_FFFF)
        wanted = zcl.parse_read_attributes(frame.payload)
        answer = ZclFrame(
            frame.sequence,
            General.READ_ATTRIBUTES_RESPONSE,
            b"".join(zcl.attribute_record(each, known.get(each)) for each in wanted),
            cluster_specific=False,
            from_server=False,
            disable_default_response=True,
        )
        return answer.to_bytes()
