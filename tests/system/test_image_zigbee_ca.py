"""`chf image` and the signatures of standard files: the CA's key written by build, taken by inspect and verify."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chf.cli.image import image as command
from chf.errors import UsageError

IMAGES = Path(__file__).parents[2] / "firmware_images"
SUITES = pytest.mark.parametrize("suite", [1, 2])


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def authority(tmp_path, suite) -> Path:
    """The file that `build --public-key` writes, beside an image that is the golden one."""
    recipe = IMAGES / "recipes" / f"standard-signed-{suite}.toml"
    assert run("build", recipe, "-o", tmp_path / "image", "--public-key", tmp_path / "ca").exit_code == 0
    assert (tmp_path / "image").read_bytes() == (IMAGES / "golden" / f"{recipe.stem}.zigbee").read_bytes()
    return tmp_path / "ca"


@SUITES
def test_verify_takes_the_ca_as_a_file_and_as_hex(authority, suite):
    golden = IMAGES / "golden" / f"standard-signed-{suite}.zigbee"
    digits = authority.read_text().removeprefix("CA Public Key: ").strip()
    assert len(digits) == {1: 44, 2: 74}[suite]
    for given in (authority, digits, digits.upper()):
        done = run("verify", golden, "--zigbee-ca", given, "--json")
        told = {check["name"]: check["passed"] for check in json.loads(done.stdout)["checks"]}
        assert told == {"structure": True, "integrity code": True, "ZigBee signature": True}
        assert done.exit_code == 0


@SUITES
def test_a_changed_image_fails_and_inspect_says_of_whom(authority, suite, tmp_path):
    octets = bytearray((tmp_path / "image").read_bytes())
    octets[100] ^= 1
    (tmp_path / "image").write_bytes(octets)
    assert run("verify", tmp_path / "image", "--zigbee-ca", authority).exit_code == 1
    told = run("inspect", tmp_path / "image", "--zigbee-ca", authority).stdout
    assert "NOT verified: says 00-DB-12-34-56-00-00-51, certified by 00-DB-12-34-56-00-00-CA" in told
    assert "is not what any known reading computes" in told  # the integrity code


@SUITES
def test_what_is_no_key_is_a_usage_error(suite, tmp_path):
    golden = IMAGES / "golden" / f"standard-signed-{suite}.zigbee"
    (tmp_path / "junk").write_bytes(b"\xff\x00junk")
    for given in ("abcd", tmp_path / "junk", tmp_path / "nowhere"):
        done = run("verify", golden, "--zigbee-ca", given)
        assert isinstance(done.exception, UsageError)
