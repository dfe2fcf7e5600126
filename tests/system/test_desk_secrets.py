"""No key leaves the store: not into logs, not at --debug, not into events, tables, JSON or error messages."""

import base64
import re

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chf.eui64 import parse_eui64
from chf.pki.zigbee import ZigbeePki
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick, steal_connection
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, LINK_KEY

pytestmark = pytest.mark.timeout(180)


def spellings(secret: bytes) -> list[bytes]:
    """How a program may write octets down without meaning to."""
    found = []
    for octets in (secret, secret[::-1]):
        text = octets.hex()
        pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
        for joined in (text, ":".join(pairs), " ".join(pairs), "-".join(pairs)):
            found += [joined.encode(), joined.upper().encode()]
        found += [octets, repr(octets)[2:-1].encode(), str(list(octets))[1:-1].encode(), base64.b64encode(octets)]
        found.append(", ".join(f"0x{octet:02X}" for octet in octets).encode())
    return found


DONGLE = "00-DB-12-34-56-78-00-01"


@pytest.fixture(scope="module", params=["ezsp", "znp"])
def certified(tmp_path_factory, request):
    """Key establishment, an update, trouble with the cable, and every command that asks of keys; at --debug."""
    directory = tmp_path_factory.mktemp(f"certified-{request.param}")
    made = ZigbeePki(directory / "pki of the devices")
    made.issue(parse_eui64(EUI64))
    scenario = f'[ncp]\neui64 = "{DONGLE}"\n' + quick(credentials=f"{made.path.name}/{{eui64}}-suite2.txt")
    with bench(directory, scenario, "--ncp", request.param, capture=True) as desk:
        made.path.rename(desk.pki.path / "zigbee")
        desk.chf("dcc", "pki", "issue", DONGLE)
        desk.start_hub("--debug", "--radio", request.param, config='[security]\nmode = "cbke"\n')
        desk.chf("device", "add", EUI64, "--install-code", INSTALL_CODE, "--json")
        desk.chf("device", "permit", EUI64, "--json")
        desk.pair(EUI64)
        number = desk.start_update(image_file(directory / "new.ota", size_bytes=2000))
        desk.until_state(number, UpdateState.ACTIVATED)
        steal_connection(desk.dongle.port)
        desk.until(lambda: desk.log.read_text().count("radio.state state=up") > 1, "the hub to be back")
        desk.kill_hub()
        desk.start_hub("--debug", "--radio", request.param, config='[security]\nmode = "cbke"\n')
        desk.until_alerts(2)
        for arguments in (
            ("device", "show", EUI64),
            ("device", "list"),
            ("update", "show", str(number)),
            ("alert", "list"),
            ("radio", "info"),
            ("dcc", "pki", "show"),
        ):
            desk.chf(*arguments)
            desk.chf(*arguments, "--json")
        desk.chf("watch", "--once")
        desk.chf("radio", "keys", "--port", "tcp://127.0.0.1:9", "--out", str(directory / "none"), code=5)
        assert desk.stop_hub() == 0
        desk.chf("radio", "probe", desk.dongle.port, "--security", "--json")
        desk.chf("radio", "backup", "--port", desk.dongle.port, str(directory / "backup.json"))
        out = str(directory / "out")
        desk.chf("radio", "keys", "--port", desk.dongle.port, "--radio", request.param, "--out", out, "--json")
        desk.chf("doctor", "--json", code=None)
        desk.chf("dcc", "pki", "add-zigbee", str(desk.pki.path / "zigbee" / f"{parse_eui64(EUI64):016x}-suite2.txt"))
        desk.chf("alert", "export", str(directory / "alerts.jsonl"))
        for name in ("html", "junit", "json"):
            desk.chf("report", f"--{name}", str(directory / f"report.{name}"))
        yield desk


def established_secrets(desk) -> dict[str, bytes]:
    entry = desk.store.devices.get(parse_eui64(EUI64))
    code = bytes.fromhex(INSTALL_CODE)
    named = {**secrets(desk), "established link key": entry.link_key, "install code and CRC": code}
    zigbee = ZigbeePki(desk.pki.path / "zigbee")
    for subject, suite in zigbee.subjects():
        octets = suite.curve.scalar_octets
        named[f"private key of {subject:016X}"] = zigbee.credentials(subject, suite).private_key.to_bytes(octets, "big")
    for path in zigbee.path.glob("ca-*.key"):
        named[path.name] = bytes.fromhex(path.read_text())
    return named


def secrets(desk) -> dict[str, bytes]:
    keys = re.findall(r'^"([0-9A-Fa-f:]+)"', desk.dongle.keys.read_text(), re.MULTILINE)
    assert len(keys) >= 2
    named = {f"key {number} of the air": bytes.fromhex(text.replace(":", "")) for number, text in enumerate(keys)}
    for path in desk.pki.path.glob("*.key"):
        key = load_pem_private_key(path.read_bytes(), None)
        named[path.name] = key.private_numbers().private_value.to_bytes(32, "big")
    return {**named, "install code": bytes.fromhex(INSTALL_CODE)[:16], "link key": LINK_KEY}


def test_the_search_finds_what_is_there(certified):
    """A search that finds nothing must be able to find."""
    assert LINK_KEY in b"".join(path.read_bytes() for path in certified.home.glob("chf.db*"))
    found = established_secrets(certified)
    assert len(found) > 10
    backup = (certified.directory / "backup.json").read_bytes()
    for place in (backup, (certified.directory / "out").read_bytes()):
        assert any(spelling in place for spelling in spellings(found["established link key"]))


def test_no_key_is_in_anything_that_is_no_secret(certified):
    """All that was written and printed; and the raw capture, which holds no key in the clear."""
    secret_files = {"backup.json", "out", "keys.txt", "chf.db", "chf.db-wal", "chf.db-shm", "scenario.toml"}
    written = {
        path.name: path.read_bytes()
        for path in certified.directory.rglob("*")
        if path.is_file() and path.name not in secret_files and "pki" not in path.parts
    }
    assert {"hub.log", "air.pcap", "alerts.jsonl", "report.html", "report.junit", "report.json"} <= written.keys()
    assert b"DEBUG" in written["hub.log"] or b"asyncio" in written["hub.log"] or len(written["hub.log"]) > 2000
    written["commands"] = "".join(certified.said).encode()
    written["events"] = repr(certified.dongle.seen).encode()
    written["audit"] = repr([record.event for record in certified.store.audit.tail(limit=-1)]).encode()
    written["rows"] = repr(certified.store.devices.list()).encode()
    named = established_secrets(certified)
    found = [
        (where, name)
        for where, octets in written.items()
        for name, secret in named.items()
        if any(text in octets for text in spellings(secret))
    ]
    assert found == []


def test_files_with_secrets_are_for_their_owner_alone(certified):
    assert certified.home.stat().st_mode & 0o077 == 0
    named = established_secrets(certified)
    for path in certified.directory.rglob("*"):
        if path.is_file() and path.name != "scenario.toml":  # which the test wrote
            octets = path.read_bytes()
            if any(text in octets for secret in named.values() for text in spellings(secret)):
                assert path.stat().st_mode & 0o077 == 0, path
    assert (certified.directory / "backup.json").stat().st_mode & 0o777 == 0o600


def test_the_store_holds_no_install_code_and_no_network_key(certified):
    """Only link keys, in their columns: what the install code is not needed for is not kept."""
    store = b"".join(path.read_bytes() for path in certified.home.glob("chf.db*"))
    kept = established_secrets(certified)
    link_keys = (LINK_KEY, kept["established link key"])
    network_keys = [secret for name, secret in kept.items() if "air" in name and secret not in link_keys]
    assert network_keys
    for secret in (kept["install code"], *network_keys):
        assert not any(text in store for text in spellings(secret))
