"""A device that its supplier commands, on the wire of `model_hub`, with the supplier and the ACB at the other end.

rig = CommandedRig(hub_image=signed_image())
rig.start()                                   # joined, downloaded, tunnel open
rig.say(rig.cs06(image_hash(rig.image)))
rig.run(10)
rig.told()                                    # what came up: (use case, payload)
"""

from random import Random
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from chf import gbcs
from chf.crypto.p256 import sign as sign_image
from chf.gbcs import CraFlag, GroupingHeader, MessageCode
from chf.gbcs.build import ZIGBEE_EPOCH_UTC_S
from devices.nodes import events
from devices.nodes.device import Device
from devices.nodes.firmware import Firmware
from devices.nodes.image_check import manufacturer_image
from devices.nodes.kinds import commanded
from devices.nodes.personalities import OUT_OF_BAND
from devices.nodes.settings import CommandedKind, CommandedSettings
from devices.wire import ota, tunneling
from tests.support.model_hub import DEVICE, HARDWARE, IMAGE_TYPE, MANUFACTURER, NEW, OLD, START_UTC, Rig, image

SUPPLIER, ACB = 0x90B3D51F30010000, 0x90B3D51F30000002
DEVICE_KEY, DEVICE_KA = (ec.derive_private_key(number, ec.SECP256R1()) for number in (0x5EED, 0x5EEE))
SUPPLIER_KEY, ACB_KA, STRANGER_KEY, SUPPLIER_KA = (
    ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 12, 13, 14)
)
START = ZIGBEE_EPOCH_UTC_S + START_UTC
"""UTC at simulated second 0."""


def signed_image(version: int = NEW, body_bytes: int = 3000, *, seed: int = 1, key=SUPPLIER_KEY) -> bytes:
    """As GBCS 11.2.2 has it; `body_bytes` is the size of the Manufacturer Image."""
    whole = bytearray(image(version, body_bytes + 66, seed=seed))
    whole[-66:] = b"\x00\x40" + sign_image(bytes(whole[60:-66]), key)
    return bytes(whole)


def image_hash(octets: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(manufacturer_image(octets)).digest()


class CommandedRig(Rig):
    kind = CommandedKind.HCALCS

    def __init__(self, *, kind: CommandedKind = CommandedKind.HCALCS, **options) -> None:
        self.kind = kind
        super().__init__(**options)
        self.hub.upgrade_time = (0, ota.WAIT_FOREVER)
        self.counter = 1000

    clusters = staticmethod(commanded)  # of every kind, the GSME too: its tunnel is opened by the hub

    def make_device(self, changes: dict) -> Device:
        fields = {
            "eui64": DEVICE,
            "link_key": bytes(16),
            "signing_key": DEVICE_KEY,
            "key_agreement_key": DEVICE_KA,
            "manufacturer_code": MANUFACTURER,
            "image_type": IMAGE_TYPE,
            "hardware_version": HARDWARE,
            "file_version": OLD,
            "kind": self.kind,
            "acb_key": ACB_KA.public_key(),
            "supplier_key": SUPPLIER_KEY.public_key(),
            "supplier_agreement_key": SUPPLIER_KA.public_key(),
            "personality": OUT_OF_BAND,
            **changes,
        }
        settings = CommandedSettings(**fields)
        return Device(
            self.stack,
            self.queue,
            Random(1),
            settings,
            lambda parts: self.clusters(settings, parts),
            listener=self.recorder,
            firmware=Firmware(self.flash, settings),
        )

    def start(self) -> None:
        """Switched on, what the hub offers is in flash, and the tunnel is open."""
        self.device.power_on()
        self.run(30)
        self.hub.open_tunnel()
        self.run(1)

    @classmethod
    def started(cls, **options) -> Self:
        rig = cls(**options)
        rig.start()
        return rig

    def restarted(self) -> None:
        """After a reboot the hub opens a new tunnel."""
        self.run(10)
        self.hub.open_tunnel()
        self.run(1)

    @property
    def utc(self) -> float:
        return START + self.queue.now

    # What the world sends

    def cs06(
        self, hash_: bytes, at: float | None = None, *, counter=None, signer=SUPPLIER_KEY, acb=ACB_KA, **header
    ) -> bytes:
        self.counter += 1
        fields = {"supplier": SUPPLIER, "device": DEVICE, **header}
        command = gbcs.make_cs06_precommand(
            fields["supplier"], fields["device"], self.counter if counter is None else counter, hash_, at
        )
        signed = gbcs.sign(command, signer)
        return gbcs.add_mac(signed, gbcs.mac_key(acb, DEVICE_KA.public_key(), signed.header)).to_bytes()

    def cs08(self, *, counter=None, acb=ACB_KA, originator=ACB) -> bytes:
        self.counter += 1
        number = self.counter if counter is None else counter
        code = MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
        behalf = gbcs.SupplementaryRemoteParty(SUPPLIER, number)
        header = GroupingHeader(CraFlag.COMMAND, number, originator, DEVICE, code, supplementary=behalf)
        key = gbcs.mac_key(acb, DEVICE_KA.public_key(), header)
        return gbcs.make_cs08_command(originator, DEVICE, number, behalf, key)

    def ask_meter(self, *, counter=None, acb=ACB_KA, originator=SUPPLIER, kind: CommandedKind | None = None) -> bytes:
        """ECS52 or GCS38, as an ESME or a GSME is asked."""
        self.counter += 1
        number = self.counter if counter is None else counter
        esme = (kind or self.kind) is CommandedKind.ESME
        code = MessageCode.READ_FIRMWARE_VERSION_ESME_CHF if esme else MessageCode.READ_FIRMWARE_VERSION_GSME
        behalf = gbcs.SupplementaryRemoteParty(SUPPLIER + 9, number) if originator == ACB else None
        header = GroupingHeader(CraFlag.COMMAND, number, originator, DEVICE, code, supplementary=behalf)
        return gbcs.make_version_command(header, gbcs.mac_key(acb, DEVICE_KA.public_key(), header))

    def say(self, message: bytes) -> None:
        """Through the tunnel, asking for a Default Response."""
        assert self.hub.tunnel_id is not None
        self.hub.command(
            tunneling.ClientCommand.TRANSFER_DATA,
            tunneling.TransferData(self.hub.tunnel_id, message).to_bytes(),
            cluster=tunneling.CLUSTER,
            from_server=False,
            quiet=False,
        )
        self.run(0.05)

    # What came up

    def messages(self) -> list[gbcs.GbcsMessage]:
        return [gbcs.GbcsMessage.from_bytes(octets) for octets in self.hub.alerts]

    def told(self) -> list:
        return [gbcs.parse_payload(message) for message in self.messages()]


def refused(rig: CommandedRig) -> list[str]:
    """Why the device did not obey, each time that it did not."""
    return [event.reason for event in rig.recorder.all(events.CommandRefused)]


def not_obeyed(rig: CommandedRig, message: bytes, reason: str) -> None:
    before = len(rig.hub.alerts)
    rig.say(message)
    rig.run(30)
    assert refused(rig)[-1].startswith(reason), refused(rig)
    assert rig.device.file_version() == OLD
    assert len(rig.hub.alerts) == before
