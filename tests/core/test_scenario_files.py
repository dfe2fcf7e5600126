"""What a scenario file may say, and what is said about one that makes no sense."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from devices.bench.recordings import EventLog
from devices.bench.scenario import Scenario, load_scenario, read_scenario
from devices.bench.toml_section import ScenarioError
from devices.nodes.events import NodeEvent
from devices.nodes.settings import AlertFault, BodyFormat, EndFault
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, LINK_KEY, ppmid

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenario.md"


def load(directory: Path, text: str) -> Scenario:
    path = directory / "it.toml"
    path.write_text(text)
    return load_scenario(path)


def test_an_empty_file_is_a_dongle_without_devices(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Scenario()


def test_everything_can_be_said(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        """
        seed = 9
        [ncp]
        eui64 = "00:0b:57:ff:fe:00:00:01"
        stick = "v13"
        endpoints_survive_reset = false
        scan_takes_time = true
        aps_unicast_message_count = 32
        [medium]
        loss = 0.1
        duplicate = 0.2
        reorder = 0.3
        reorder_hold_s = 0.4
        delay_s = 1
        """
        + ppmid(
            count=3,
            power_on_s=1.5,
            power_on_step_s=0.5,
            poll_interval_s=2.0,
            profile="home-automation",
            aps_security=False,
            page=True,
            page_spacing_ms=5,
            personality="telink",
            body_format="gbcs",
            faults={"end": "abort", "alert": "bad-signature", "stalls_at_offset": 1000},
        ),
    )
    assert (scenario.seed, scenario.ncp.eui64, scenario.ncp.aps_unicast_message_count) == (9, 0x000B57FFFE000001, 32)
    assert (scenario.medium.duplication, scenario.medium.reordering, scenario.medium.delay_s) == (0.2, 0.3, 1.0)
    assert [entry.power_on_s for entry in scenario.devices] == [1.5, 2.0, 2.5]
    assert [entry.settings.eui64 & 0xFF for entry in scenario.devices] == [0xA4, 0xA5, 0xA6]
    settings = scenario.devices[0].settings
    assert settings.link_key == LINK_KEY
    assert (settings.poll_interval_s, settings.profile, settings.aps_security_required) == (2.0, 0x0104, False)
    assert (settings.page_bytes, settings.personality.name, settings.body_format) == (1024, "telink", BodyFormat.GBCS)
    assert (settings.faults.end, settings.faults.alert) == (EndFault.ABORT, AlertFault.BAD_SIGNATURE)
    keys = {entry.settings.signing_key.private_numbers().private_value for entry in scenario.devices}
    assert len(keys) == 3


@pytest.mark.parametrize("code", [INSTALL_CODE, INSTALL_CODE[:-4], " 83-FE-D3-40 7A939723A5C639B26916D505".strip()])
def test_an_install_code_with_and_without_its_crc(tmp_path: Path, code: str) -> None:
    scenario = load(tmp_path, ppmid(install_code=code))
    assert scenario.devices[0].settings.link_key == LINK_KEY


def test_a_signing_key_is_found_beside_the_scenario(tmp_path: Path) -> None:
    key = generate_private_key(SECP256R1())
    (tmp_path / "device.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    scenario = load(tmp_path, ppmid(signing_key="device.pem"))
    assert scenario.devices[0].settings.signing_key.private_numbers() == key.private_numbers()


def test_a_device_may_join_by_the_key_that_everybody_knows(tmp_path: Path) -> None:
    known = {"install_code": "well-known", "profile": "home-automation"}
    (plain,) = load(tmp_path, ppmid(**known)).devices
    assert (plain.settings.link_key, plain.settings.aps_security_required) == (b"ZigBeeAlliance09", False)
    (secured,) = load(tmp_path, ppmid(**known, aps_security=True)).devices
    assert secured.settings.aps_security_required


REFUSED: list[tuple[str, str]] = [
    (ppmid(install_code="well-known"), "install_code: is 'well-known' with profile = \"home-automation\" alone"),
    ("seed = ", "is not TOML"),
    ("sede = 1", "sede: is not known here: use one of device, faults, ideal, line, medium, ncp, seed, or remove it"),
    ("seed = -1", "seed: lies between 0 and"),
    ("seed = true", "seed: is a whole number such as 10 or 0x0A, not True"),
    ("ncp = 1", r"ncp: is a table: write \[ncp\]"),
    ("[ncp]\nstick = 'v99'", "ncp.stick: is one of roomy, v8, .*, skyconnect-7.1, dongle-e-7.4, zbt-2, .*, not 'v99'"),
    ("[ncp]\neui64 = '12'", "ncp.eui64: is an EUI-64 such as"),
    ("[ncp]\neui64 = '00-00-00-00-00-00-00-00'", "ncp.eui64: must not be all zeros"),
    ("[ncp]\nlacks = ['nothing']", "ncp.lacks: is a list of some of ping, version"),
    ("[ncp]\nlacks = 'ping'", "ncp.lacks: is a list of some of"),
    ("[faults]\ndrop = 2", "faults.drop: lies between 0 and 1"),
    ("[faults]\ndirection = 'up'", "faults.direction: is one of both, to-host, to-dongle"),
    ("[[faults.event]]\ndo = 'dance'", r" faults\.event\[1\].do: is one of restart_dongle, crash_dongle"),
    ("[[faults.event]]\ndo = 'unplug'", r"event\[1\].do: wants a moment: either at_s or after_frames"),
    ("[[faults.event]]\ndo = 'unplug'\nat_s = 1\nafter_frames = 1", r"event\[1\].do: wants a moment"),
    ("[[faults.event]]\ndo = 'restart_dongle'\nat_s = 1\nfor_s = 1", r"event\[1\].for_s: is not known here"),
    ("[faults]\nconfirms = 1", r"faults\.confirms: is a list of tables: write \[\[faults\.confirms\]\]"),
    ("a = " + "[" * 100_000, "is not TOML"),
    ("seed = " + "1" * 10_000, "is not TOML"),
    (ppmid(manufacturer_name="x" * 33), r"device\[1\].manufacturer_name: has at most 32 octets, not 33"),
    (ppmid(model_identifier="\u00e9" * 17), r"device\[1\].model_identifier: has at most 32 octets, not 34"),
    ("[[faults.confirms]]\nloss = 2", r"confirms\[1\].loss: lies between 0 and 1"),
    ("[medium]\nloss = 1.5", "medium.loss: lies between 0 and 1"),
    ("[line]\nbaudrate = 300", "line.baudrate: lies between 1200 and 4000000"),
    ("[line]\nspeed = 1", "line.speed: is not known here"),
    ("[medium]\nloss = nan", "medium.loss: lies between"),
    ("ideal = 'yes'", "ideal: is true or false"),
    ("[device]\ntype = 'ppmid'", r"device: is a list of tables: write \[\[device\]\]"),
    ("[[device]]\neui64 = '00-DB-12-34-56-78-90-A4'", r"device\[1\].type: is missing and has no default"),
    (ppmid(type="toaster"), r"device\[1\].type: is one of ppmid"),
    (ppmid(file_version=2**32), r"device\[1\].file_version: lies between"),
    (ppmid(colour="red"), r"device\[1\].colour: is not known here"),
    (ppmid(colour="red"), r"use one of (?!.* eui64, eui64)"),
    (ppmid(personality="nobody"), r"device\[1\].personality: is one of spec-strict, .*telink, .*, not 'nobody'"),
    (ppmid(page=True, page_bytes=0), r"device\[1\].page_bytes: lies between 1 and 65535, but is 0"),
    (ppmid(faults={"ends": 1}), r"device\[1\].faults.ends: is not known here"),
    (ppmid(faults={"end": "badly"}), r"device\[1\].faults.end: is one of none, invalid-image, abort"),
    (ppmid(sleepy=False, poll_interval_s=1), r"device\[1\].poll_interval_s: only a sleepy device polls"),
    (ppmid(sleepy=True, router=True), r"device\[1\].router: is for a device that does not sleep"),
    (ppmid(hears=["00-DB-12-34-56-78-99-99"]), r"device.hears: 00-DB-12-34-56-78-99-99 is nobody here"),
    (ppmid(hears=[]), r"device\[1\].hears: is a list of EUI-64s"),
    (ppmid(install_code="zz"), r"device\[1\].install_code: is written in hex digits"),
    (ppmid(install_code="00" * 5), r"device\[1\].install_code: has 6, 8, 12 or 16 octets"),
    (ppmid(install_code=INSTALL_CODE[:-2] + "00"), r"device\[1\].install_code: ends in a CRC that does not fit"),
    (ppmid(signing_key="nowhere.pem"), r"device\[1\].signing_key: .*nowhere.pem cannot be read"),
    (ppmid(signing_key="it.toml"), r"device\[1\].signing_key: .*it.toml is not an unencrypted PEM private key"),
    (ppmid() + ppmid(), f"device.eui64: {EUI64} is there twice"),
    (ppmid("00-DB-12-34-56-77-FF-FF", count=3) + ppmid("00-DB-12-34-56-78-00-00"), "is there twice"),
    (ppmid("00-DB-12-34-56-78-00-01"), "is there twice"),  # the dongle's own
    (ppmid("FF-FF-FF-FF-FF-FF-FF-F0", count=20), r"device\[1\].count: counts beyond the last EUI-64"),
    (ppmid(body_format="none"), r"device\[1\].body_format: is one of either, gbcs, sub-elements"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_refused_and_how(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "it.toml"))
    assert INSTALL_CODE[:12] not in str(caught.value)


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    key = generate_private_key(SECP384R1())
    (tmp_path / "device.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ScenarioError, match="is not a P-256 key"):
        load(tmp_path, ppmid(signing_key="device.pem"))


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "nowhere.toml")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path)
    (tmp_path / "it.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "it.toml")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["seed", "ncp", "medium", "device", "eui64", "loss", "type", "install_code", "count"])


@given(st.dictionaries(names, values | st.dictionaries(names, values), max_size=4))
def test_no_document_raises_anything_else(document: dict[str, Any]) -> None:
    with suppress(ScenarioError):
        read_scenario(document, Path("it.toml"))


# the page about it


def test_every_example_of_the_page_loads(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) == 3
    assert [len(load(tmp_path, example).devices) for example in examples] == [1, 0, 11]


def test_the_page_names_every_key_and_every_event(tmp_path: Path) -> None:
    page = DOCUMENT.read_text()
    for text in ("x = 1", "[ncp]\nx = 1", "[line]\nx = 1", "[medium]\nx = 1", ppmid(x=1), ppmid(faults={"x": 1})):
        with pytest.raises(ScenarioError) as caught:
            load(tmp_path, text)
        keys = re.search(r"use one of (.*), or remove it", str(caught.value))
        assert keys
        for key in keys[1].split(", "):
            assert re.search(rf"[`\[.]{key}[`\]]", page), key
    for event in NodeEvent.__subclasses__():
        assert f"`{EventLog.name_of(event)}`" in page
