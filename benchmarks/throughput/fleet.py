"""What is updated: the devices, as a scenario of the virtual dongle, and the image."""

from dataclasses import dataclass
from pathlib import Path

from chf.crypto.install_code import link_key, with_crc
from chf.image.build import build_image
from chf.image.recipe import parse_recipe

BLOCK_BYTES = 50
INSTALL_CODE = with_crc(bytes.fromhex("83FED3407A939723A5C639B26916D505"))
LINK_KEY = link_key(INSTALL_CODE)
FIRST_EUI64 = 0x00DB_1234_6000_0000
MANUFACTURER, IMAGE_TYPE, HARDWARE_VERSION, OLD_VERSION, NEW_VERSION = 0x10D4, 0x0001, 0x0101, 1, 2

_RECIPE = """
kind = "standard"
manufacturer_code = {manufacturer}
image_type = {image_type}
file_version = {version}
header_string = "throughput benchmark"

[payload]
seed = "throughput benchmark"
size_bytes = {size_bytes}
"""

_DEVICES = """
[[device]]
type = "ppmid"
count = {count}
eui64 = "{first:016X}"
install_code = "{install_code}"
manufacturer = {manufacturer}
image_type = {image_type}
hardware_version = {hardware_version}
file_version = {version}
profile = "{profile}"
aps_security = {aps_security}
block_size = {block_size}
page = {page}
page_spacing_ms = {page_spacing_ms}
think_time_s = {think_s}
radio_delay_s = {radio_delay_s}
power_on_s = 86400.0  # the benchmark switches them on when the host lets them in
reboot_s = 86400.0  # a device that is done stays away, so that the others are measured and nothing else
query_interval_s = 86400.0
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """`devices` quick ones and `slow_devices` whose delivery confirms take `confirm_ms`."""

    devices: int
    image_kib: int
    slow_devices: int = 0
    confirm_ms: int = 200
    think_ms: int = 0
    page: bool = False

    @property
    def eui64s(self) -> range:
        """The quick ones first."""
        return range(FIRST_EUI64, FIRST_EUI64 + self.devices + self.slow_devices)

    @property
    def quick(self) -> range:
        return self.eui64s[: self.devices]

    def image(self) -> bytes:
        """A standard OTA file, which every host can read, of exactly `image_kib`.

        It is whole pages, because herdsman never ends a page that goes on behind the file.
        """
        wanted = self.image_kib * 1024
        overhead = len(_build(wanted)) - wanted
        return _build(wanted - overhead)

    def write_scenario(self, path: Path, *, smart_energy: bool, ideal: bool = True) -> None:
        """`ideal` is for the speed of a host, with line and air out of its way.

        For zigpy endpoints survive a reset, since it adds its own only before the resets of forming a network, and
        the trust centre removes nobody who asks for no other key, which chf tells it and zigpy does not.
        """
        text = f"ideal = {str(ideal).lower()}\n"
        text += "[ncp]\nendpoints_survive_reset = true\nrequires_key_exchange = false\n"
        for count, first, delay_s in (
            (self.devices, self.eui64s[0], 0.0),
            (self.slow_devices, self.eui64s[0] + self.devices, self.confirm_ms / 1000),
        ):
            if count:
                text += _DEVICES.format(
                    count=count,
                    first=first,
                    install_code=INSTALL_CODE.hex(),
                    manufacturer=MANUFACTURER,
                    image_type=IMAGE_TYPE,
                    hardware_version=HARDWARE_VERSION,
                    version=OLD_VERSION,
                    profile="smart-energy" if smart_energy else "home-automation",
                    aps_security=str(smart_energy).lower(),
                    block_size=BLOCK_BYTES,
                    page=str(self.page).lower(),
                    page_spacing_ms=0,
                    think_s=self.think_ms / 1000,
                    radio_delay_s=delay_s,
                )
        path.write_text(text, encoding="utf-8")


def _build(size_bytes: int) -> bytes:
    recipe = _RECIPE.format(
        manufacturer=MANUFACTURER, image_type=IMAGE_TYPE, version=NEW_VERSION, size_bytes=size_bytes
    )
    return build_image(parse_recipe(recipe), _no_file)


def _no_file(name: str) -> bytes:
    raise FileNotFoundError(name)
