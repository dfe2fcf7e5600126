"""`chf dcc device`, `product`, `queue` and `serve`, as programs."""

import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from chf.cli.dcc.group import dcc
from chf.clock import UtcSeconds, isoformat
from chf.dcc.products import Cpl
from chf.dcc.smi import Smi
from chf.duis import RequestId
from chf.duis.device_request import ActivateFirmwareRequest, ReadFirmwareVersionRequest, UpdateHanDeviceLogRequest
from chf.errors import ChfError
from chf.eui64 import Eui64, format_eui64
from chf.store import Store
from chf.store.device_messages import MessageState, NewDeviceMessage
from chf.store.uplink import NewDocument
from tests.support.dcc_bench import (
    ACB,
    CHF,
    ESME,
    NOW,
    PPMID,
    SECOND,
    STRANGER,
    SUPPLIER,
    field,
    image,
    log_devices,
    make_pki,
    signed,
    update_request,
)

DEVICE = format_eui64(PPMID)


@pytest.fixture
def chf(tmp_path):
    def run(*arguments: str, fails: str = "") -> str:
        result = CliRunner().invoke(dcc, [*arguments, "--home", str(tmp_path / "home")])
        if fails:
            assert result.exit_code != 0
            words = str(result.exception) if isinstance(result.exception, ChfError) else result.output
            assert fails in words
        else:
            assert result.exit_code == 0, result.output or result.exception
        return result.stdout

    run.home = tmp_path / "home"
    return run


def test_dcc_inventory_is_kept_by_commands(chf):
    chf("device", "set", DEVICE, fails="say its --type")
    chf("device", "set", DEVICE, "--type", "ppmid", "--manufacturer", "1234", "--model", "M1")
    chf("device", "set", DEVICE, "--status", "Suspended", "--firmware-version", "2")
    (record,) = json.loads(chf("device", "list", "--json"))["devices"]
    assert (record["status"], record["model"], record["firmware_version"]) == ("Suspended", "M1", "00000002")
    chf("device", "set", DEVICE, "--status", "follow")
    assert Smi(chf.home).devices()[PPMID].status is None
    assert DEVICE in chf("device", "list")
    chf("device", "remove", DEVICE)
    chf("device", "remove", DEVICE, fails="is not in ")
    chf("device", "set", DEVICE, "--type", "PPMID", "--status", "Gone", fails="not one of")


def test_dcc_product_list_is_kept_by_commands(chf, tmp_path):
    file = tmp_path / "image.zigbee"
    file.write_bytes(image())
    model = ("--image", str(file), "--type", "PPMID", "--manufacturer", "1234", "--model", "M1")
    chf("product", "add", "P1", *model)
    chf("product", "add", "P2", *model, "--upgrade-from", "P1")
    chf("product", "status", "P1", "Withdrawn")
    records = json.loads(chf("product", "list", "--json"))["products"]
    assert {record["id"]: record["status"] for record in records} == {"P1": "Withdrawn", "P2": "Active"}
    assert "Withdrawn" in chf("product", "list")
    chf("product", "status", "P3", "Active", fails="not in the product list")
    chf("product", "remove", "P2")
    assert [product.id for product in Cpl(chf.home).products().products] == ["P1"]


def test_dcc_lists_may_be_written_by_hand_and_are_then_left_alone(chf):
    chf.home.mkdir()
    (chf.home / "smi.toml").write_text(f'schema = 1\n[[devices]]\ndevice = "{DEVICE}"\ndevice_type = "PPMID"\n')
    assert DEVICE in chf("device", "list")
    chf("device", "remove", DEVICE, fails="kept by hand")


def test_dcc_queue_shows_and_repeats(chf):
    with Store.open(chf.home) as store, store.transaction() as tx:
        tx.uplink.add(NewDocument("x/1", SUPPLIER, PPMID, "PPMIDAlert", b"<a/>", NOW.utc))
        tx.uplink.failed(1, "answered 400", NOW.utc, park=True)
    (told,) = json.loads(chf("queue", "list", "--json"))["documents"]
    assert (told["state"], told["last_error"], told["recipient"]) == (
        "put aside",
        "answered 400",
        format_eui64(SUPPLIER),
    )
    assert "put aside" in chf("queue", "list")
    assert chf("queue", "show", "1") == "<a/>\n"
    shown = json.loads(chf("queue", "show", "1", "--json"))
    assert shown == {"schema": 1, "document": {**told, "xml": "<a/>"}}
    chf("queue", "show", "2", "--json", fails="no document 2")
    chf("queue", "show", "2", fails="no document 2")
    chf("queue", "retry", "1")
    assert json.loads(chf("queue", "list", "--json"))["documents"][0]["state"] == "waiting"


def test_dcc_queue_posts_again_what_a_user_lost(chf):
    """The user's own store was put back from a backup: what was taken since then comes again, under the same ids."""
    taken = UtcSeconds(1_700_000_000.0)
    with Store.open(chf.home) as store, store.transaction() as tx:
        for number in range(1, 4):
            tx.uplink.add(NewDocument(f"x/{number}", SUPPLIER, PPMID, "PPMIDAlert", b"<a/>", taken))
            tx.uplink.delivered(number, UtcSeconds(taken + number))
    chf("queue", "resend", "--since", "2999-01-01T00:00:00Z", fails="is yet to come")
    since = isoformat(UtcSeconds(taken + 2))
    assert json.loads(chf("queue", "resend", "--since", since, "--json"))["resent"] == 2
    waiting = json.loads(chf("queue", "list", "--json"))["documents"]
    assert [(document["id"], document["state"]) for document in waiting] == [("x/2", "waiting"), ("x/3", "waiting")]


def test_dcc_commands_for_devices_are_listed(chf):
    with Store.open(chf.home) as store, store.transaction() as tx:
        for counter in (1, 2):
            tx.device_messages.add(NewDeviceMessage(PPMID, "cli", 0x0128, counter, b"m", NOW.utc, NOW.utc))
        tx.device_messages.change(2, MessageState.EXPIRED, NOW.utc, "the device was not there in time")
    told = json.loads(chf("command", "list", "--json"))["commands"]
    assert [(row["message"], row["state"], row["message_code"]) for row in told] == [
        (2, "expired", "0x0128"),
        (1, "waiting", "0x0128"),
    ]
    assert "not there in time" in chf("command", "list")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "nowhere"), "not an address"),
        (("--receive-url", "ftp://x/"), "not an http or https address"),
        (("--receive-url", "http://user:pass@x/"), "no user name or password"),
        (("--signatures", "require"), "wants --signers"),
    ],
)
def test_dcc_serve_refuses_what_makes_no_sense(chf, options, words):
    chf("serve", *options, fails=words)


@pytest.fixture
def submitting(chf):
    """`submit` with a device log and a PKI; `run` takes a document and gives what was printed as JSON."""
    with Store.open(chf.home) as store:
        log_devices(store)
    pki = make_pki(chf.home)

    def run(document: bytes, *options: str, fails: str = ""):
        file = chf.home / "request.xml"
        file.write_bytes(document)
        return json.loads(chf("submit", str(file), "--json", *options, fails=fails))

    return run, pki


SERVICES = {
    "8.11": lambda counter: UpdateHanDeviceLogRequest(RequestId(SUPPLIER, CHF, counter), SECOND, None),
    "11.2": lambda counter: ReadFirmwareVersionRequest(RequestId(SUPPLIER, PPMID, counter)),
    "11.3": lambda counter: ActivateFirmwareRequest(RequestId(SUPPLIER, ESME, counter), bytes(32)),
    "11.4": lambda counter: update_request(PPMID, counter=counter),
}


@pytest.mark.parametrize("service", SERVICES)
def test_submit_judges_signatures_as_serve_does(submitting, service):
    run, pki = submitting
    signers = ("--signers", str(pki.path))
    plain = SERVICES[service](1000).to_bytes()
    refused = run(plain, *signers, fails="not signed")
    assert (refused["response_code"], refused["service"]) == ("E1", service)
    changed = signed(plain, pki).replace(b":1000<", b":1001<")
    assert run(changed, *signers, fails="changed after")["response_code"] == "E1"
    assert run(changed, *signers, "--signatures", "accept", fails="changed after")["response_code"] == "E1"
    assert run(signed(plain, pki, ACB), *signers, fails="signed by")["response_code"] == "E1"
    assert run(signed(plain, pki), *signers)["response_code"] in {"I99", "I0"}
    others = run(
        SERVICES[service](1001).to_bytes(),
        *signers,
        "--signatures",
        "accept",
        fails="" if service != "11.4" else "no device",
    )
    assert others["notes"] == ["the request is not signed"]


@pytest.mark.parametrize("service", SERVICES)
def test_submit_knows_users_and_roles_as_serve_does(submitting, chf, service):
    run, _ = submitting
    config = chf.home / "dcc.toml"
    config.write_text(f'[[user]]\neui64 = "{format_eui64(ACB)}"\nroles = ["IS"]\n')
    document = SERVICES[service](1000).to_bytes()
    assert run(document, "--config", str(config), fails="not a user here")["response_code"] == "E1"
    config.write_text(f'[[user]]\neui64 = "{format_eui64(SUPPLIER)}"\nroles = ["OU"]\n')
    fails = "" if service == "11.2" else "has no role"
    assert run(document, "--config", str(config), fails=fails)["response_code"] == (
        "I99" if service == "11.2" else "E2"
    )


def test_submit_does_not_flood_the_terminal(submitting, chf):
    devices = [PPMID, *(Eui64(0x00DB_0000_0000_0000 + number) for number in range(500))]
    run, _ = submitting
    assert len(run(update_request(*devices).to_bytes())["refused"]) == 500
    result = CliRunner().invoke(dcc, ["submit", str(chf.home / "request.xml"), "--home", str(chf.home)])
    assert result.exit_code != 0  # a replay: nothing new
    (chf.home / "request.xml").write_bytes(update_request(*devices[1:], counter=1001).to_bytes())
    result = CliRunner().invoke(dcc, ["submit", str(chf.home / "request.xml"), "--home", str(chf.home)])
    assert result.stderr.count("refused: ") == 21
    assert "480 more" in result.stderr


def test_submit_of_a_replay_says_so(submitting):
    run, _ = submitting
    assert run(update_request().to_bytes())["queued"] is True
    replayed = run(update_request().to_bytes(), fails="used before")
    assert (replayed["response_code"], replayed["request_refusal"] is None) == ("E11", False)


def test_cs06_refuses_what_makes_no_sense(submitting, chf, tmp_path):
    """Each refusal says what is wrong; nothing is queued."""
    unsigned = tmp_path / "unsigned.ota"
    unsigned.write_bytes(image())
    esme, stranger, file = format_eui64(ESME), format_eui64(STRANGER), str(unsigned)
    for options, words in (
        (("--device", esme, "--image", file), "activates signed GBCS images"),
        (("--device", esme, "--image", "nothing"), "no stored image is called 'nothing'"),
        (("--device", esme, "--image", file, "--at", "2020-01-01T00:00:00Z"), "has passed"),
        (("--device", esme, "--image", file, "--at", "+1h", "--cancel"), "exclude each other"),
        (("--device", esme, "--image", file, "--at", "2030-01-01T00:00:00"), "no time zone"),
        (("--device", "A0", "--image", file), "not an EUI-64"),
        (("--image", file), "--device"),
    ):
        chf("cs06", *options, fails=words)
    chf("cs08", "--device", stranger, fails="not in the device log")
    chf("cs08", "--device", esme, fails="is for PPMID and HCALCS")
    assert json.loads(chf("command", "list", "--json"))["commands"] == []


def test_submit_refuses_what_makes_no_sense(submitting):
    run, pki = submitting
    document = SERVICES["11.2"](1000).to_bytes()
    for options, words in (
        (("--signatures", "require"), "wants --signers"),
        (("--at", "+1h"), "are for updates"),
        (("--at", "+1h", "--hold"), "exclude each other"),
        (("--signers", str(pki.path.parent / "nowhere")), "does not exist"),
    ):
        with pytest.raises(json.JSONDecodeError):
            run(document, *options, fails=words)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_dcc_serve_takes_a_request_and_stops_in_good_order(tmp_path, number):
    home = tmp_path / "home"
    with Store.open(home) as store:
        log_devices(store)
    command = [sys.executable, "-m", "chf.cli.main", "dcc", "serve", "--listen", "127.0.0.1:0", "--home", str(home)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as served:
        url = json.loads(served.stdout.readline())["listening"]
        headers = {"Content-Type": "application/xml"}
        connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.request("POST", "/api/v1/serviceD", update_request().to_bytes(), headers)
        answer = connection.getresponse()
        assert (answer.status, field(answer.read(), "ResponseCode")) == (200, "I99")
        connection.close()
        served.send_signal(number)
        _, said = served.communicate(timeout=10)
    assert (served.returncode, "stopped" in said, "Traceback" in said) == (0, True, False)
    with Store.open(home) as store:
        assert len(store.inbox.pending()) == 1
