"""The DCC's own signing tool signs requests that we take, and validates what we sign.

@smartdcc/duis-sign-wrap and @smartdcc/dccboxed-keystore (npm, GPL-3.0-or-later, Java inside) are looked for in
$CHF_NODE_MODULES, or in .node/node_modules; nothing of theirs is part of this repository.
"""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from chf.dcc.desk import Address, Desk
from chf.dcc.device_requests import CANCELLATION_UTC_S
from chf.dcc.settings import DccSettings, User
from chf.dcc.signers import SignaturePolicy, Signers
from chf.duis import RequestId, ServiceReference
from chf.duis.device_request import (
    ActivateFirmwareRequest,
    ReadFirmwareVersionRequest,
    SignedPreCommandRequest,
    UpdateHanDeviceLogRequest,
)
from chf.duis.document import compact, parse_document
from chf.duis.xml_signature import sign
from chf.gbcs import CANCELLED_UTC_S, GbcsMessage, make_cs06_precommand, parse_payload
from chf.gbcs import sign as gbcs_sign
from chf.pki.certificates import Usage, identity
from chf.store import Store
from tests.support.dcc_bench import (
    ACB,
    CHF,
    ESME,
    HCALCS,
    KEYS,
    NOW,
    PPMID,
    SECOND,
    SUPPLIER,
    field,
    log_devices,
    make_pki,
    update_request,
)
from tests.support.oracles import missing

NODE_MODULES = Path(os.environ.get("CHF_NODE_MODULES", Path(__file__).parents[2] / ".node" / "node_modules"))
SCRIPT = """
import tool from '@smartdcc/duis-sign-wrap'
const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const xml = Buffer.concat(chunks).toString('utf8')
const done = process.argv[1] === 'sign' ? tool.signDuis({ xml, preserveCounter: true }) : tool.validateDuis({ xml })
process.stdout.write(await done)
"""


@pytest.fixture(scope="module")
def tool():
    """Runs the tool; its verdict is the exit code."""
    lacking = [name for name in ("node", "java") if shutil.which(name) is None]
    if not (NODE_MODULES / "@smartdcc" / "duis-sign-wrap").is_dir():
        lacking.append("@smartdcc/duis-sign-wrap in .node/node_modules")
    if lacking:
        missing(f"the signing tool is not here: {', '.join(lacking)}")

    def run(what: str, document: bytes) -> subprocess.CompletedProcess[bytes]:
        command = ["node", "--input-type=module", "-e", SCRIPT, what]
        return subprocess.run(
            command, input=document, capture_output=True, cwd=NODE_MODULES.parent, timeout=60, check=False
        )

    return run


@pytest.fixture(scope="module")
def keystore():
    path = NODE_MODULES / "@smartdcc" / "dccboxed-keystore" / "keystore.json"
    if not path.exists():
        missing("@smartdcc/dccboxed-keystore is not in .node/node_modules")
    return json.loads(path.read_text())


def signing_entry(keystore, eui64: int):
    """The key with which this organisation signs XML."""
    entries = keystore[f"{eui64:016x}"]["digitalSignature"].values()
    return next(entry for entry in entries if "xml-sign" in entry["name"])


@pytest.fixture
def bench(tmp_path, keystore):
    certificates = tmp_path / "signers"
    certificates.mkdir()
    for organisation in (SUPPLIER, ACB):
        (certificates / f"{organisation:016x}.pem").write_text(signing_entry(keystore, organisation)["certificate"])
    with Store.open(tmp_path / "home") as store:
        log_devices(store)
        signers, pki = Signers.load(certificates, SignaturePolicy.REQUIRE), make_pki(store.home)
        desk = Desk(store, pki, signers=signers)
        desk.store, desk.pki, desk.signers = store, pki, signers
        yield desk


HASH = bytes(range(32))
REQUESTS = {
    "11.4": update_request(PPMID).to_bytes(),
    "11.3": ActivateFirmwareRequest(RequestId(SUPPLIER, ESME, 1000), HASH).to_bytes(),
    "11.2": ReadFirmwareVersionRequest(RequestId(SUPPLIER, PPMID, 1000)).to_bytes(),
    "11.1": replace(update_request(HCALCS), service_reference=ServiceReference.UPDATE_FIRMWARE).to_bytes(),
    "8.11": UpdateHanDeviceLogRequest(RequestId(SUPPLIER, CHF, 1000), SECOND, None).to_bytes(),
}


@pytest.mark.parametrize(
    ("service", "code"), [("11.4", "I99"), ("11.3", "I0"), ("11.2", "I99"), ("8.11", "I99"), ("11.1", "E110101")]
)
def test_signing_tool_signs_what_the_desk_takes(tool, bench, service, code):
    signed = tool("sign", REQUESTS[service])
    assert signed.returncode == 0, signed.stderr.decode()
    answer = bench.take(signed.stdout, NOW)
    assert (answer.code.value, answer.notes[:1]) == (code, ())
    assert code != "E110101" or "no supplier's signature" in answer.reason  # of the image, not of the request


@pytest.mark.parametrize(
    ("when", "in_command"),
    [(None, None), (int(NOW.utc) + 3600, int(NOW.utc) + 3600), (CANCELLATION_UTC_S, CANCELLED_UTC_S)],
    ids=["at once", "future-dated", "cancelled"],
)
def test_signing_tool_carries_an_activation_from_transform_to_the_device(tool, bench, when, in_command):
    """SR 11.3 as a supplier sends it: transformed, the pre-command signed, sent; then replayed, older, and by others."""
    transform = ActivateFirmwareRequest(RequestId(SUPPLIER, ESME, 1000), HASH, when).to_bytes()
    answer = bench.take(tool("sign", transform).stdout, NOW, address=Address.TRANSFORM)
    assert (answer.code.value, answer.notes) == ("I0", ())
    command = GbcsMessage.from_bytes(b64decode(field(answer.document, "GBCSPayload")))
    assert (parse_payload(command).execution_utc_s, command.header.counter) == (in_command, 1000)

    def sent(counter: int, signer=SUPPLIER, address=Address.SEND_COMMAND, request_counter=None):
        unsigned = make_cs06_precommand(SUPPLIER, ESME, counter, HASH, in_command)
        octets = gbcs_sign(unsigned, KEYS(f"{signer:016x}-ds")).to_bytes()
        request = SignedPreCommandRequest(RequestId(SUPPLIER, ESME, request_counter or counter), octets, when)
        return bench.take(tool("sign", request.to_bytes()).stdout, NOW, address=address)

    signed = gbcs_sign(command, KEYS(f"{SUPPLIER:016x}-ds")).to_bytes()
    request = SignedPreCommandRequest(RequestId(SUPPLIER, ESME, 1000), signed, when).to_bytes()
    document = tool("sign", request).stdout
    assert bench.take(document, NOW, address=Address.TRANSFORM).code.value == "E13", "the wrong address"
    assert bench.take(document, NOW, address=Address.SEND_COMMAND).code.value == "I99"
    (queued,) = bench.store.device_messages.waiting(ESME)
    assert parse_payload(GbcsMessage.from_bytes(queued.message)).execution_utc_s == in_command

    assert "replayed" in bench.take(document, NOW, address=Address.SEND_COMMAND).reason
    assert "out of order" in sent(999).reason
    assert "not that of the originator" in sent(1001, signer=ESME).reason
    if when is not None:
        other = SignedPreCommandRequest(RequestId(SUPPLIER, ESME, 1002), signed, int(NOW.utc) + 7200).to_bytes()
        assert "executionDateTime" in bench.take(tool("sign", other).stdout, NOW).reason
    assert len(bench.store.device_messages.waiting()) == 1


def test_signing_tool_sets_the_counter_by_the_clock_and_the_answer_still_finds_its_way(tool, bench):
    """Left to itself the tool counts each request by milliseconds: then the command has another counter than its request."""
    command = make_cs06_precommand(SUPPLIER, ESME, 1000, HASH)
    signed = gbcs_sign(command, KEYS(f"{SUPPLIER:016x}-ds")).to_bytes()
    request = SignedPreCommandRequest(RequestId(SUPPLIER, ESME, 2000), signed).to_bytes()
    assert bench.take(tool("sign", request).stdout, NOW).code.value == "I99"
    asked = bench.store.device_messages.asked(ESME, 1000, command.header.message_code)
    assert asked.request == str(RequestId(SUPPLIER, ESME, 2000))


def test_signing_tool_signature_of_a_user_without_the_role_is_refused(tool, bench):
    users = {SUPPLIER: User(SUPPLIER, frozenset({"ES"}))}
    desk = Desk(bench.store, bench.pki, DccSettings(users), signers=bench.signers)
    assert desk.take(tool("sign", REQUESTS["11.3"]).stdout, NOW).code.value == "E2"
    assert desk.take(tool("sign", REQUESTS["11.2"]).stdout, NOW).code.value == "I99"


def test_signing_tool_signature_over_a_changed_request_is_refused(tool, bench):
    signed = tool("sign", REQUESTS["11.4"]).stdout
    answer = bench.take(signed.replace(b":1000<", b":1001<"), NOW)
    assert (answer.code.value, "changed after it was signed" in answer.reason) == ("E1", True)


def own_signature(keystore, document: bytes, eui64: int = SUPPLIER) -> bytes:
    entry = signing_entry(keystore, eui64)
    certificate = x509.load_pem_x509_certificate(entry["certificate"].encode())
    root = parse_document(document)
    compact(root)  # the tool drops white space before it checks
    sign(root, load_pem_private_key(entry["privateKey"].encode(), None), certificate)
    return etree.tostring(root)


@pytest.mark.parametrize("service", REQUESTS)
def test_signing_tool_validates_requests_that_we_sign(tool, keystore, service):
    signed = own_signature(keystore, REQUESTS[service])
    verdict = tool("validate", signed)
    assert verdict.returncode == 0, verdict.stderr.decode()
    assert field(verdict.stdout, "RequestID") == field(signed, "RequestID")
    changed = tool("validate", signed.replace(b":1000<", b":1001<"))
    assert changed.returncode != 0


def test_signing_tool_validates_answers_that_we_sign(tool, keystore, bench):
    """With the DSP's public test key in the ACB's place: the tool knows no other."""
    request = tool("sign", REQUESTS["11.3"]).stdout
    answer = parse_document(bench.take(request, NOW).document)
    answer.remove(answer[-1])
    signed = own_signature(keystore, etree.tostring(answer), ACB)
    verdict = tool("validate", signed)
    assert verdict.returncode == 0, verdict.stderr.decode()
    assert field(verdict.stdout, "GBCSVersion") == "4.3"


def test_public_keys_fit_our_reading_of_certificates(keystore):
    entry = signing_entry(keystore, SUPPLIER)
    certificate = x509.load_pem_x509_certificate(entry["certificate"].encode())
    eui64, _, usage = identity(certificate)
    assert (eui64, usage) == (SUPPLIER, Usage.DIGITAL_SIGNATURE)
