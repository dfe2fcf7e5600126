"""A supplier's back end: a client that posts DUIS documents, and a receive address that may be down, slow or difficult.

The address listens in a thread of its own, so that tests of whole programs can use it. `with serving(...)` runs
`chf dcc serve` as a program.
"""

import json
import signal
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from lxml import etree

from chf.duis.document import NAMESPACE, parse_document
from chf.duis.xml_signature import IssuerSerial, detach, sign, verify
from chf.eui64 import Eui64
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from tests.support.dcc_bench import REFERENCE, SCHEMA_FILE
from tests.support.programs import ROOT, chf_command


@dataclass
class ReceiveAddress:
    """What it is sent, in the order in which it came; `plan` is how it answers before it answers 204 for ever.

    An answer is a status, or "hang up" after the document was read, or "swallow": taken, and the answer is lost.
    """

    port: int = 0
    plan: list[int | str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    seen: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/smartdcc/duis"

    def up(self) -> None:
        address = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                address.seen += 1
                answer = address.plan.pop(0) if address.plan else 204
                if answer in (204, "swallow"):
                    address.taken.append(body)
                if isinstance(answer, str):
                    self.connection.close()
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True

            def handle_error(self, *_arguments: object) -> None:
                """A connection that was closed on purpose."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def once_each(self) -> list[bytes]:
        """Repeats left out, as a user does who compares octets."""
        return list(dict.fromkeys(self.taken))


@dataclass
class Serving:
    """A running `chf dcc serve`."""

    process: subprocess.Popen[str]
    host: str

    def post(self, document: bytes, service: str) -> tuple[int, str, bytes]:
        """Status, the reason in words, and the body."""
        connection = HTTPConnection(self.host, timeout=20)
        connection.request("POST", f"/api/v1/{service}", document, {"Content-Type": "application/xml"})
        answer = connection.getresponse()
        found = answer.status, answer.headers.get("Chf-Reason", ""), answer.read()
        connection.close()
        return found

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Serving]:
    command = [*chf_command("dcc", "serve"), "--listen", "127.0.0.1:0", "--home", str(home), *options]
    if REFERENCE.exists():
        command += ["--duis-xsd", str(REFERENCE / SCHEMA_FILE)]
    said = home.parent / "serve.log"
    with (
        said.open("a") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready, f"it did not start: {said.read_text()[-2000:]}"
            yield Serving(process, urlsplit(json.loads(ready)["listening"]).netloc)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(10)
    assert "Traceback" not in said.read_text()


def signed_by(pki: Pki, who: Eui64, document: bytes) -> bytes:
    root = parse_document(document)
    sign(root, pki.private_key(who, Usage.DIGITAL_SIGNATURE), pki.certificate(who, Usage.DIGITAL_SIGNATURE))
    return etree.tostring(root)


@dataclass(frozen=True)
class Received:
    """A document from the DCC, whose signature holds."""

    kind: str
    fields: dict[str, str]

    @property
    def payload(self) -> bytes:
        return b64decode(self.fields["GBCSPayload"])


def received(document: bytes, pki: Pki) -> Received:
    root = parse_document(document)
    signature = detach(root)
    assert signature is not None
    acb = pki.certificate(pki.acb, Usage.DIGITAL_SIGNATURE)
    verify(root, signature, {IssuerSerial.of(acb): acb}.get)
    name = f"{{{NAMESPACE}}}"
    body = root.find(f"{name}Body")
    assert body is not None
    leaves = {element.tag.removeprefix(name): element.text or "" for element in root.iter() if not len(element)}
    inner = {element.tag.removeprefix(name) for element in body.iter()}
    kinds = (
        "CSPFirmwareDeliveryStatus",
        "CommsHubAlert",
        "PPMIDAlert",
        "DeviceAlertMessage",
        "FutureDatedDeviceAlertMessage",
        "PreCommand",
    )
    kind = next((kind for kind in kinds if kind in inner), "ResponseMessage")
    return Received(kind, leaves)
