"""Hostile documents at the desk, with the schema and the signers in place: refused soon, and nothing is opened.

Python's own ways to files and sockets are forbidden while a document is judged. libxml2 opens files behind Python's back:
for it there is a file that the kernel watches and a port that nobody may knock at, and a careless parser that shows that
both would have told.
"""

import builtins
import contextlib
import ctypes
import os
import socket
import time

import pytest
from lxml import etree

from chf.dcc.desk import Desk
from chf.dcc.signers import SignaturePolicy, Signers
from chf.duis.document import parse_document
from chf.duis.xml_signature import IssuerSerial, sign
from chf.errors import ChfError
from chf.image.image import parse_image
from chf.pki.certificates import Role, Usage, organisation_certificate
from chf.store import Store
from tests.support.dcc_bench import (
    FILE_VERSION,
    KEYS,
    NOW,
    SUPPLIER,
    duis_schema,
    image,
    log_devices,
    make_pki,
    update_request,
)
from tests.support.duis_attacks import attacks, changed_content, duplicates, wrappings

LIMIT_S = 0.2
IN_OPEN = 0x20  # inotify(7)
VERSION = f"{FILE_VERSION:08X}"
PLAIN = update_request().to_bytes().decode()
CERTIFICATE = organisation_certificate(
    SUPPLIER, Role.SUPPLIER, Usage.DIGITAL_SIGNATURE, KEYS("signer").public_key(), KEYS("root")
)


def _signed() -> str:
    root = parse_document(update_request().to_bytes())
    sign(root, KEYS("signer"), CERTIFICATE)
    return etree.tostring(root).decode()


SIGNED = _signed()


class Canary:
    """A file and a port, and whether anybody came by."""

    def __init__(self, path) -> None:
        self.path = path
        path.write_text("root:canary")
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(path), IN_OPEN) >= 0
        self.port = socket.create_server(("127.0.0.1", 0))
        self.port.setblocking(False)
        self.url = f"http://127.0.0.1:{self.port.getsockname()[1]}/x"

    def file_was_opened(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._watch, 4096))
        return False

    def somebody_knocked(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.port.accept()[0].close()
            return True
        return False

    def close(self) -> None:
        os.close(self._watch)
        self.port.close()


@pytest.fixture
def canary(tmp_path):
    made = Canary(tmp_path / "canary.txt")
    yield made
    made.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def desk(tmp_path, pki):
    """Everything that it wants of files is read before."""
    with Store.open(tmp_path / "home") as store:
        log_devices(store)
        signers = Signers({IssuerSerial.of(CERTIFICATE): CERTIFICATE}, SignaturePolicy.REQUIRE)
        made = Desk(store, pki, signers=signers, schema=duis_schema())
        made.store, made.pki = store, pki
        yield made


def forbid(monkeypatch) -> None:
    def no(*arguments, **options):
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(builtins, "open", no)
    monkeypatch.setattr("io.open", no)
    monkeypatch.setattr(os, "open", no)
    monkeypatch.setattr(socket, "socket", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)


def refuse(desk, document: bytes, monkeypatch) -> tuple[str, float]:
    """Why the document is not taken, and the seconds of processor time that it took to say so."""
    with monkeypatch.context() as inside:
        forbid(inside)
        before = time.process_time()
        try:
            answer = desk.take(document, NOW)
        except ChfError as error:
            code, reason = "", str(error)
        else:
            code, reason = answer.code.value, answer.reason
        took_s = time.process_time() - before
    assert code in {"", "E11", "E1"}, f"{code}: it was taken"
    assert desk.store.inbox.pending() == ()
    assert len(reason) < 500
    return reason, took_s


def test_attack_canary_sings_for_a_careless_parser(canary):
    """The control: without it, the silence of the other tests would say nothing."""
    careless = etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=False, huge_tree=True)
    assert not canary.file_was_opened()
    with contextlib.suppress(etree.XMLSyntaxError):
        etree.fromstring(f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{canary.path}">]><x>&a;</x>'.encode(), careless)
    assert canary.file_was_opened()
    with socket.create_connection(("127.0.0.1", canary.port.getsockname()[1])):
        assert canary.somebody_knocked()


ATTACKS = attacks(PLAIN, VERSION) | duplicates(PLAIN)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused_soon_and_opens_neither_file_nor_socket(name, desk, canary, monkeypatch):
    made = attacks(PLAIN, VERSION, str(canary.path), canary.url) | duplicates(PLAIN)
    reason, took_s = refuse(desk, made[name], monkeypatch)
    assert not canary.file_was_opened()
    assert not canary.somebody_knocked()
    assert "canary" not in reason.replace(str(canary.path), "")
    assert (
        took_s < LIMIT_S * 5
    )  # of processor time on a machine that others use as well; the goal is measured in docs/dcc.md


def test_attack_wrapping_base_is_taken(desk):
    """The control: the document that is tampered with below is good."""
    assert desk.take(SIGNED.encode(), NOW).code.value == "I99"


@pytest.mark.parametrize("name", wrappings(SIGNED, VERSION))
def test_attack_on_a_signature_is_refused_soon_and_opens_neither_file_nor_socket(
    name, desk, canary, monkeypatch, record_property
):
    document = wrappings(SIGNED, VERSION)[name]
    assert document != SIGNED
    _, took_s = refuse(desk, document.encode(), monkeypatch)
    assert took_s < LIMIT_S * 5


@pytest.mark.parametrize("name", changed_content(SIGNED, VERSION))
def test_attack_on_signed_content_is_refused(name, desk, monkeypatch):
    document = changed_content(SIGNED, VERSION)[name]
    assert document != SIGNED
    refuse(desk, document.encode(), monkeypatch)


@pytest.mark.parametrize("name", wrappings(SIGNED, VERSION))
def test_attack_on_a_signature_is_refused_where_signatures_are_not_asked_for_or_changes_nothing(name, desk):
    """Without signers nobody is fooled about who signed; but what is read must still be one plain request."""
    open_desk = Desk(desk.store, desk.pki)
    try:
        answer = open_desk.take(wrappings(SIGNED, VERSION)[name].encode(), NOW)
    except ChfError:
        return
    if answer.code.value == "I99":
        (command,) = desk.store.inbox.pending()
        assert command.body["image"] == parse_image(image()).sha256
