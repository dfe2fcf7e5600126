"""The methods of `chf demo --method`: which device, which image, and what the supplier does besides asking.

A PPMID is activated by the hub. HCALCS, ESME and GSME hold their image until the supplier's signed command CS06: here
the supplier sends it once the device's receipt alert has come, as a real one would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from chf.clock import Now
from chf.dcc.firmware_commands import SUPPLIER_COUNTER, VERSION_USE_CASES, cs06, next_counter, read_version, row
from chf.duis import ServiceReference
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.gbcs import AlertCode, MessageCode
from chf.hub.messages_from_devices import USE_CASES
from chf.image.build import build_image
from chf.image.image import FirmwareImage, parse_image
from chf.image.recipe import parse_recipe
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.alerts import Alert
from chf.store.device_log import DeviceType
from chf.update.model import Update, UpdateState

PERSONALITIES: Final = (
    "spec-strict",
    "spec-strict-no-time",
    "silicon-labs",
    "telink",
    "ti",
    "nxp",
    "st",
    "microchip",
    "nordic",
    "esp-v1",
    "esp-v2",
    "seconds-period",
    "unflagged-period",
)
"""Those of docs/personalities.md that a hub can activate; here by name, since nothing in chf knows the emulation."""

_RECIPE = """
kind = "{kind}"
manufacturer_code = 0xFFF0
image_type = 0x{image_type:04X}
file_version = 0x02000001
header_string = "chf demo {name}"
hardware_versions = {{ minimum = 0x0100, maximum = 0x01FF }}

[payload]
seed = "chf demo {name}"
size_bytes = 65536
"""
"""Of the image that is moved when none is given: long enough to watch, short enough to wait for."""

_SIGNATURE = """
[signature]
force_replace = false
key_file = "supplier.key"
"""


@dataclass(frozen=True, slots=True)
class Method:
    device_type: DeviceType
    device: Eui64
    image_type: int
    service: ServiceReference

    @property
    def commanded(self) -> bool:
        """By the supplier, not by the hub."""
        return self.service is ServiceReference.UPDATE_FIRMWARE

    @property
    def name(self) -> str:
        return self.device_type.value

    def image(self, pki: Pki) -> FirmwareImage:
        """The demo's own image, signed by the supplier where the device insists."""
        kind = "gbcs-signed" if self.commanded else "gbcs-ppmid"
        recipe = _RECIPE.format(kind=kind, image_type=self.image_type, name=self.name)
        if self.commanded:
            recipe += _SIGNATURE
        key = pki.path / f"{pki.supplier:016x}-{Usage.DIGITAL_SIGNATURE.value}.key"
        return parse_image(build_image(parse_recipe(recipe), lambda _name: key.read_bytes()))

    def scenario(self, pki: Pki) -> dict[str, Any]:
        """What the device knows beyond its own identity: whom to trust."""
        own = {"key_agreement_key": f"{self.device:016x}-ka.key", "acb_certificate": f"{pki.acb:016x}-ka.pem"}
        if self.commanded:
            own |= {"supplier": format_eui64(pki.supplier), "supplier_certificate": f"{pki.supplier:016x}-ds.pem"}
            own["supplier_agreement_certificate"] = f"{pki.supplier:016x}-ka.pem"
        known: dict[str, Any] = {
            name: text if name == "supplier" else str((pki.path / text).absolute()) for name, text in own.items()
        }
        if self.device_type is DeviceType.GSME:  # a real one wakes every so many minutes: nobody wants to watch that
            known |= {"poll_interval_s": 1.0, "fast_poll_interval_s": 0.01, "mirror_interval_s": 2.0}
        return known


_UPDATE_PPMID, _UPDATE = ServiceReference.UPDATE_PPMID_FIRMWARE, ServiceReference.UPDATE_FIRMWARE

METHODS: Final = {
    "ppmid": Method(DeviceType.PPMID, parse_eui64("00-DB-12-34-56-78-90-A4"), 0x0084, _UPDATE_PPMID),
    "hcalcs": Method(DeviceType.HCALCS, parse_eui64("00-DB-12-34-56-78-90-A5"), 0x0085, _UPDATE),
    "esme": Method(DeviceType.ESME, parse_eui64("00-DB-12-34-56-78-90-A0"), 0x0086, _UPDATE),
    "gsme": Method(DeviceType.GSME, parse_eui64("00-DB-12-34-56-78-90-A1"), 0x0087, _UPDATE),
}


class Supplier:
    """What the supplier does while the update goes on: looks at what came up, and commands when it is time."""

    def __init__(
        self, method: Method, store: Store, pki: Pki, image: FirmwareImage, say: Callable[[str], None]
    ) -> None:
        self._method, self._store, self._pki, self._image, self._say = method, store, pki, image, say
        self._commanded = not method.commanded

    def look(self, update: Update, now: Now) -> None:
        """Send CS06, once, when the device holds the image and has told that it is good."""
        if self._commanded or update.state is not UpdateState.WAITING or not self._received(update):
            return
        self._commanded = True
        image_hash = bytes.fromhex(self._image.manufacturer_image_hash)
        with self._store.transaction() as tx:
            counter = next_counter(tx, SUPPLIER_COUNTER, now)
            message = cs06(self._pki, update.device, counter, image_hash)
            tx.device_messages.add(row(update.device, MessageCode.ACTIVATE_FIRMWARE, counter, message, now))
        self._say(f"CS06 {format_eui64(self._pki.supplier)}: activate {self._image.manufacturer_image_hash[:16]}...")

    def read_version(self, device: Eui64, now: Now) -> None:
        """SR 11.2 at the end."""
        with self._store.transaction() as tx:
            tx.device_messages.add(read_version(tx, self._pki, device, self._method.device_type, now))

    def complete(self, alerts: tuple[Alert, ...]) -> bool:
        """Whether all that a device has to say after its update is there."""
        told = {alert.use_case for alert in alerts}
        wanted = {"CCS08", "CS09"}
        if self._method.commanded:
            wanted = {"CCS08", "FDRA", "CS06", USE_CASES[VERSION_USE_CASES[self._method.device_type]]}
        return wanted <= told

    def _received(self, update: Update) -> bool:
        alerts = self._store.alerts.list(device=update.device, use_case="FDRA")
        return any(alert.alert_code == AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL for alert in alerts)
