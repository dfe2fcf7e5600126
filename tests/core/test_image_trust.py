"""An emulated device that believes in signers: which standard images it takes, and how the others end."""

from dataclasses import replace
from pathlib import Path

import pytest

from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.eui64 import Eui64
from chf.image.build import build_image
from chf.image.recipe import parse_recipe
from chf.image.zigbee_signature import seeded_authority
from devices.bench.scenario import load_scenario
from devices.bench.toml_section import ScenarioError
from devices.nodes.events import DownloadFailed
from devices.nodes.image_bank import Download
from devices.nodes.image_check import check_image
from devices.nodes.settings import ImageTrust
from devices.wire.ota import ImageId
from devices.wire.ota_file import BadImageError
from devices.wire.zcl import Status
from tests.support.model_hub import HARDWARE, IMAGE_TYPE, MANUFACTURER, NEW, OLD, Rig, settings
from tests.support.virtual_dongle import ppmid

SEED = "chf test signer"
SIGNER, ISSUER = Eui64(0x00DB_1234_5600_0051), Eui64(0x00DB_1234_5600_00CA)
SUITES = pytest.mark.parametrize("suite", list(Suite), ids=["suite 1", "suite 2"])
R_S_BYTES = {Suite.ONE: 42, Suite.TWO: 72}
RECIPE = f"""
kind = "standard"
manufacturer_code = {MANUFACTURER}
image_type = {IMAGE_TYPE}
file_version = {NEW}
hardware_versions = {{ minimum = {HARDWARE}, maximum = {HARDWARE} }}
integrity_code = true
[payload]
pattern = "firmware"
size_bytes = 300
"""
SIGNED = """
[zigbee_signature]
suite = SUITE
signer = "00-DB-12-34-56-00-00-51"
issuer = "00-DB-12-34-56-00-00-CA"
key_seed = "chf test signer"
"""


def built(suite: Suite, recipe: str = RECIPE + SIGNED) -> bytes:
    return build_image(parse_recipe(recipe.replace("SUITE", str(suite.value))), pytest.fail)


def trust(suite: Suite, *, seed: str = SEED, signers: tuple[int, ...] = (SIGNER,)) -> ImageTrust:
    return ImageTrust(suite, seeded_authority(suite, seed, ISSUER).public_key, signers)


def ended(octets: bytes, image_trust: ImageTrust | None, **changes) -> tuple[int, str]:
    """The status of the device's first Upgrade End Request, and the reason for its refusal."""
    rig = Rig.on(30, hub_image=octets, image_trust=image_trust, **changes)
    taken = rig.hub.ends[0].status == Status.SUCCESS
    assert rig.device.file_version() == (NEW if taken else OLD)
    return rig.hub.ends[0].status, "".join(event.reason for event in rig.recorder.all(DownloadFailed)[:1])


def refused(octets: bytes, image_trust: ImageTrust, reason: str, **changes) -> None:
    status, said = ended(octets, image_trust, **changes)
    assert status == Status.INVALID_IMAGE
    assert reason in said


@SUITES
def test_a_signed_image_of_a_trusted_signer_is_taken(suite):
    assert ended(built(suite), trust(suite)) == (Status.SUCCESS, "")
    assert ended(built(suite), trust(suite, signers=(Eui64(1), SIGNER))) == (Status.SUCCESS, "")
    without_code = built(suite, (RECIPE + SIGNED).replace("integrity_code = true", ""))
    assert ended(without_code, trust(suite)) == (Status.SUCCESS, "")


@SUITES
def test_flipped_bits_end_with_invalid_image(suite):
    """One in the header string, one in the payload, and one in either half of the signature."""
    content, half = built(suite), R_S_BYTES[suite] // 2
    for at, reason in (
        (25, "integrity code"),
        (100, "integrity code"),
        (len(content) - half - 2, "signature does not hold"),
        (len(content) - 2, "signature does not hold"),
    ):
        flipped = bytearray(content)
        flipped[at] ^= 0x10
        refused(bytes(flipped), trust(suite), reason)
    plain = bytearray(built(suite, (RECIPE + SIGNED).replace("integrity_code = true", "")))
    plain[100] ^= 0x10
    refused(bytes(plain), trust(suite), "signature does not hold")


@SUITES
def test_wrong_people_end_with_invalid_image(suite):
    content = built(suite)
    other = Suite.TWO if suite is Suite.ONE else Suite.ONE
    refused(content, trust(suite, signers=(Eui64(SIGNER + 1),)), "signed by 00DB123456000051, who may not")
    refused(content, trust(suite, seed="another"), "the signature does not hold")
    refused(content, trust(other), f"no signature of suite {other.value}")
    signer = bytearray(content)
    signer[-R_S_BYTES[suite] - 8] ^= 1
    refused(bytes(signer), trust(suite, signers=(SIGNER, Eui64(SIGNER ^ 1))), "not the subject of the certificate")


@SUITES
def test_the_issuer_must_be_that_of_the_devices_own_certificate(suite):
    """Judged without a download: the rig's stack does not establish keys."""
    content = built(suite)
    download = Download(ImageId(MANUFACTURER, IMAGE_TYPE, NEW), len(content))
    same, other = (CertificateAuthority(suite, ISSUER + more, 12345).issue(1, 1 << 400, 1 << 401) for more in (0, 1))
    check_image(content, download, settings(image_trust=trust(suite), credentials=same))
    with pytest.raises(BadImageError, match=r"its certificate is by 00DB1234560000CA, the device's own by .*CB"):
        check_image(content, download, settings(image_trust=trust(suite), credentials=other))


def test_an_unsigned_image_is_taken_only_where_nobody_asks_for_a_signature():
    assert ended(built(Suite.ONE, RECIPE), None) == (Status.SUCCESS, "")
    refused(built(Suite.ONE, RECIPE), trust(Suite.ONE), "no signature of suite 1")


@SUITES
def test_a_scenario_names_the_ca_and_the_signers(suite, tmp_path):
    wanted = replace(trust(suite), signers=(SIGNER, Eui64(0x00DB_1234_5600_0052)))
    names = ["00-DB-12-34-56-00-00-51", "00-DB-12-34-56-00-00-52"]
    (tmp_path / "it.toml").write_text(ppmid(image_ca=wanted.ca_public_key.hex(), image_signers=names))
    (device,) = load_scenario(tmp_path / "it.toml").devices
    assert device.settings.image_trust == wanted


KEY = seeded_authority(Suite.ONE, SEED, ISSUER).public_key.hex()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image_ca": "zz"}, "image_ca: is the CA's public key in hex digits"),
        ({"image_ca": "0202"}, "image_ca: has 22 or 37 octets .* not 2"),
        ({"image_ca": "02" + "FF" * 21}, "image_ca: is no public key"),
        ({"image_ca": KEY}, "image_signers: is missing"),
        ({"image_ca": KEY, "image_signers": []}, "image_signers: is a list of EUI-64s"),
        ({"image_ca": KEY, "image_signers": ["nobody"]}, "image_signers: is an EUI-64 such as"),
        ({"image_signers": ["00-DB-12-34-56-00-00-51"]}, "image_signers: cannot be verified without image_ca"),
    ],
)
def test_what_a_scenario_may_not_say_of_signers(keys, message, tmp_path: Path):
    (tmp_path / "it.toml").write_text(ppmid(**keys))
    with pytest.raises(ScenarioError, match=message):
        load_scenario(tmp_path / "it.toml")
