"""No key leaves the store: not into logs, not at --debug, not into events, tables, JSON or error messages."""

import base64
import re

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chf.eui64 import parse_eui64
from chf.jobs.model import JobState
from tests.support.programs import bench, image_file, quick, steal_connection
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, LINK_KEY

pytestmark = pytest.mark.timeout(120)


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


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    directory = tmp_path_factory.mktemp("secrets")
    with bench(directory, quick(), capture=True) as desk:
        desk.pki.issue(parse_eui64(EUI64))
        desk.start_hub("--debug")
        desk.chf("device", "add", EUI64, "--install-code", INSTALL_CODE, "--json")
        desk.chf("device", "permit", EUI64, "--json")
        desk.pair(EUI64)
        image = image_file(directory / "new.ota", size_bytes=2000)
        number = desk.start_update(image)
        desk.until_state(number, JobState.ACTIVATED)
        desk.until_alerts(2)
        steal_connection(desk.dongle.port)  # what is logged when things go wrong counts as well
        desk.until(lambda: desk.log.read_text().count("radio.state state=up") > 1, "the hub to be back")
        desk.chf("radio", "keys", "--port", "tcp://127.0.0.1:9", "--out", str(directory / "none"), code=5)
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
        desk.chf("alert", "export", str(directory / "alerts.jsonl"))
        assert desk.stop_hub() == 0
        yield desk


def secrets(desk) -> dict[str, bytes]:
    keys = re.findall(r'^"([0-9A-Fa-f:]+)"', desk.dongle.keys.read_text(), re.MULTILINE)
    assert len(keys) >= 2
    named = {f"key {number} of the air": bytes.fromhex(text.replace(":", "")) for number, text in enumerate(keys)}
    for path in desk.pki.path.glob("*.key"):
        key = load_pem_private_key(path.read_bytes(), None)
        named[path.name] = key.private_numbers().private_value.to_bytes(32, "big")
    return {**named, "install code": bytes.fromhex(INSTALL_CODE)[:16], "link key": LINK_KEY}


def test_the_search_finds_what_is_there(story):
    """The keys do lie in the store and in the file of keys: a search that finds nothing must be able to find."""
    store = b"".join(path.read_bytes() for path in story.home.glob("chf.db*"))
    assert LINK_KEY in store
    assert any(spelling in story.dongle.keys.read_bytes() for spelling in spellings(LINK_KEY))


@pytest.mark.parametrize("artefact", ["log", "commands", "events", "alerts", "audit"])
def test_no_key_is_in(story, artefact):
    written = {
        "log": story.log.read_bytes,
        "commands": lambda: "".join(story.said).encode(),
        "events": lambda: repr(story.dongle.seen).encode(),
        "alerts": (story.directory / "alerts.jsonl").read_bytes,
        "audit": lambda: repr([record.event for record in story.store.audit.tail(limit=-1)]).encode(),
    }[artefact]()
    assert len(written) > 500
    found = [name for name, secret in secrets(story).items() for text in spellings(secret) if text in written]
    assert found == []


def test_files_with_secrets_are_for_their_owner_alone(story):
    assert story.home.stat().st_mode & 0o077 == 0
    private = [*story.home.glob("chf.db*"), *story.pki.path.glob("*.key"), story.dongle.keys]
    assert len(private) > 4
    assert [path.name for path in private if path.stat().st_mode & 0o077] == []


def test_the_store_holds_no_install_code_and_no_network_key(story):
    """Only the link key, in its column: what the install code is not needed for is not kept."""
    store = b"".join(path.read_bytes() for path in story.home.glob("chf.db*"))
    kept = secrets(story)
    network_keys = [secret for name, secret in kept.items() if "air" in name and secret != LINK_KEY]
    assert network_keys
    for secret in (kept["install code"], *network_keys):
        assert not any(text in store for text in spellings(secret))
