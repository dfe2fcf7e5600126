"""What makes one emulated device different from another: identity, firmware, timing, personality and faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from devices.nodes.personalities import SPEC_STRICT
from devices.stack.interface import SMART_ENERGY_PROFILE, Eui64
from devices.wire.zcl import Status

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

    from chf.crypto.ecqv import Credentials, Suite
    from devices.nodes.personality import Personality

TEST_ACCESS_CONTROL_BROKER = Eui64(0x90B3_D51F_3000_0002)  # as in the public GBCS test messages (RTDS)
TEST_SUPPLIER = Eui64(0x90B3_D51F_3001_0000)  # the same


class BodyFormat(Enum):
    """What follows the OTA header."""

    EITHER = "whichever fits"
    GBCS = "the Manufacturer Image, straight after the header"  # GBCS 11.2.2
    SUB_ELEMENTS = "tag, length, data"  # ZCL8 11.4.3


class EndFault(Enum):
    """A status that the device reports at the end of a download that was good."""

    INVALID_IMAGE = Status.INVALID_IMAGE
    ABORT = Status.ABORT
    REQUIRE_MORE_IMAGE = Status.REQUIRE_MORE_IMAGE


class AlertFault(Enum):
    """What is wrong with the activation alert CS09."""

    FAILURE = "says failure"
    NEVER = "is never sent"
    TWICE = "is sent again after it was taken"
    WRONG_VERSION = "names a version that does not run"
    BAD_SIGNATURE = "is signed wrongly"


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything off: a device that does as it should."""

    end: EndFault | None = None
    alert: AlertFault | None = None
    firmware_does_not_boot: bool = False  # the new image fails its self-test, the boot loader goes back to the old
    reverts_after_activation: bool = False  # reports success, then runs the old image again
    ignores_upgrade_time: bool = False  # activates as soon as any Upgrade End Response comes
    stalls_at_offset: int | None = None  # asks for nothing more once it has so many bytes
    loses_every_nth_block: int | None = None  # between radio and client, which asks again (esp-zigbee-sdk #860)
    skips_block_at_offset: int | None = None  # counts the block that holds it, and stores nothing (esp-zigbee-sdk #892)


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class ImageTrust:
    """Whose signature a device wants among the sub-elements of an image: one of these, certified by this CA."""

    suite: Suite
    ca_public_key: bytes
    signers: tuple[Eui64, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """Any device. Times are simulated seconds, and what is set here without a source is our choice."""

    kind: str  # a key of `kinds.KINDS`
    eui64: Eui64
    link_key: bytes = field(repr=False)  # from its install code
    manufacturer_code: int
    hardware_version: int

    credentials: Credentials | None = None  # for key establishment; None lives with the install code's key
    profile: int = SMART_ENERGY_PROFILE
    endpoint: int = 0x03
    aps_security_required: bool = True  # OTA, Time and Tunneling under the link key, both ways (SE 5.4.6)
    insists_on_link_key: bool = False  # asks the trust centre for one of its own, and leaves where it gets none
    poll_interval_s: float | None = None  # of a sleepy device; None keeps the receiver on
    fast_poll_interval_s: float = 0.1  # of a sleepy device that expects an answer
    manufacturer_name: str = "Emulated"
    model_identifier: str = "PPMID"
    reboot_s: float = 1.0
    clock_at_start: int = 0  # ZigBee time of its own clock at simulated second 0; the Time server corrects it


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareSettings(DeviceSettings):
    """A device that takes firmware. Versions and codes are those of its OTA header."""

    image_type: int
    file_version: int

    personality: Personality = SPEC_STRICT
    faults: Faults = NO_FAULTS
    think_time_s: float = 0.0  # between a block and the request for the next
    page_bytes: int = 0  # of a page; 0 asks block by block
    # None leaves these to the personality.
    block_size: int | None = None  # MaximumDataSize
    page_spacing_ms: int | None = None
    query_delay_s: float | None = None  # between finding the server and the first query
    query_interval_s: float | None = None
    body_format: BodyFormat = BodyFormat.EITHER
    image_trust: ImageTrust | None = None  # None takes standard images whoever signed them

    @property
    def image_signer(self) -> EllipticCurvePublicKey | None:
        """Whose signature an image must bear (GBCS 11.2.2); None takes images without one."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class GbcsSettings(FirmwareSettings):
    """A device with GBCS messages: its two P-256 keys, and the Access Control Broker that it knows."""

    signing_key: EllipticCurvePrivateKey = field(repr=False)
    key_agreement_key: EllipticCurvePrivateKey | None = field(default=None, repr=False)
    access_control_broker: Eui64 = TEST_ACCESS_CONTROL_BROKER  # to whom CS09 goes (GBCS 11.9)
    acb_key: EllipticCurvePublicKey | None = None  # for key agreement; without these two no command is authentic
    first_counter: int | None = None  # the originator counter of its first alert; None takes its clock's milliseconds
    alert_retry_s: float = 10.0  # doubles up to `alert_retry_max_s` while nobody takes the alert
    alert_retry_max_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PpmidSettings(GbcsSettings):
    """One PPMID."""

    kind: str = "ppmid"


class CommandedKind(StrEnum):
    HCALCS = "hcalcs"
    ESME = "esme"
    GSME = "gsme"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandedSettings(GbcsSettings):
    """One HCALCS, ESME or GSME, and the supplier whose images and commands it takes."""

    kind: CommandedKind
    supplier: Eui64 = TEST_SUPPLIER
    supplier_key: EllipticCurvePublicKey
    supplier_agreement_key: EllipticCurvePublicKey | None = None  # for the MAC of what a meter answers its supplier
    mirror_interval_s: float = 60.0  # how often a GSME looks at its mirror (our choice)

    @property
    def image_signer(self) -> EllipticCurvePublicKey | None:
        return self.supplier_key
