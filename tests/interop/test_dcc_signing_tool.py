"""The DCC's own signing tool signs requests that we take, and validates what we sign.

@smartdcc/duis-sign-wrap and @smartdcc/dccboxed-keystore (npm, GPL-3.0-or-later, Java inside) are looked for in
.node/node_modules; nothing of theirs is part of this repository.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from chf.dcc.certificates import Usage, identity
from chf.dcc.desk import Desk
from chf.dcc.signers import SignaturePolicy, Signers
from chf.duis import RequestId
from chf.duis.device_request import ActivateFirmwareRequest
from chf.duis.document import compact, parse_document
from chf.duis.xml_signature import sign
from chf.store import Store
from tests.support.dcc_bench import ACB, ESME, NOW, PPMID, SUPPLIER, field, log_devices, make_pki, update_request

NODE_MODULES = Path(__file__).parents[2] / ".node" / "node_modules"
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
    missing = [name for name in ("node", "java") if shutil.which(name) is None]
    if not (NODE_MODULES / "@smartdcc" / "duis-sign-wrap").is_dir():
        missing.append("@smartdcc/duis-sign-wrap in .node/node_modules")
    if missing:
        text = f"the signing tool is not here: {', '.join(missing)}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)

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
        text = "@smartdcc/dccboxed-keystore is not in .node/node_modules"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
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
        signers = Signers.load(certificates, SignaturePolicy.REQUIRE)
        yield Desk(store, make_pki(store.home), signers=signers)


REQUESTS = {
    "11.4": update_request(PPMID).to_bytes(),
    "11.3": ActivateFirmwareRequest(RequestId(SUPPLIER, ESME, 1000), bytes(32)).to_bytes(),
}


@pytest.mark.parametrize(("service", "code"), [("11.4", "I99"), ("11.3", "I0")])
def test_signing_tool_signs_what_the_desk_takes(tool, bench, service, code):
    signed = tool("sign", REQUESTS[service])
    assert signed.returncode == 0, signed.stderr.decode()
    answer = bench.take(signed.stdout, NOW)
    assert (answer.code.value, answer.notes[:1]) == (code, ())


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
