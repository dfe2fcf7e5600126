"""The process that computes key agreements: what it answers, and that it ends with whoever asked."""

import json
import os
import subprocess
import sys

import pytest

from chf.crypto.credentials_text import format_credentials
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.key_worker import PRESSING, answer

BIG = 1 << 400


def issue(suite, subject):
    return CertificateAuthority.generate(suite, 0xCA, BIG).issue(subject, BIG + subject, BIG * 2)


def question(suite, certificate=None, ephemeral=None):
    device = issue(suite, 2)
    asked = {
        "credentials": format_credentials(issue(suite, 1)),
        "certificate": (device.certificate.octets if certificate is None else certificate).hex(),
        "ephemeral": (Ephemeral.from_scalar(suite.curve, 55).public_key if ephemeral is None else ephemeral).hex(),
    }
    return json.dumps(asked).encode() + b"\n"


@pytest.mark.parametrize("suite", Suite)
def test_the_answer_is_what_the_device_computes(suite):
    hub, device = issue(suite, 1), issue(suite, 2)
    known = {}
    first, second = (answer(question(suite), known) for _ in range(2))
    assert first["ephemeral"] != second["ephemeral"]
    theirs = bytes.fromhex(first["ephemeral"])
    expected = agree(device, Ephemeral.from_scalar(suite.curve, 55), hub.certificate, theirs, initiator=True)
    assert (first["mac_u"], first["mac_v"]) == (expected.mac_u.hex(), expected.mac_v.hex())
    assert first["link_key"] == expected.link_key.hex()


def test_what_is_wrong_with_the_device_is_an_answer_too():
    no_point = bytearray(issue(Suite.TWO, 2).certificate.octets)
    no_point[37:] = b"\2" + bytes(36)
    assert answer(question(Suite.TWO, certificate=bytes(no_point)), {}) == {"failure": "CERTIFICATE"}
    assert answer(question(Suite.TWO, ephemeral=b"\2" + bytes(36)), {}) == {"failure": "EPHEMERAL"}


@pytest.mark.parametrize("urgency", [[], [PRESSING]])
def test_it_ends_when_nobody_asks_any_more(urgency):
    lines = question(Suite.ONE) + question(Suite.ONE)
    command = [sys.executable, "-m", "chf.key_worker", *urgency]
    done = subprocess.run(command, input=lines, capture_output=True, timeout=60, check=True)
    assert [json.loads(line).keys() for line in done.stdout.splitlines()] == 2 * [
        {"ephemeral", "mac_u", "mac_v", "link_key"}
    ]
    assert done.stderr == b""


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has a class for what goes last")
@pytest.mark.parametrize(("urgency", "scheduled"), [([], "SCHED_IDLE"), ([PRESSING], "SCHED_OTHER")])
def test_it_goes_last_unless_it_is_pressing(urgency, scheduled):
    program = "import os; from chf import key_worker; key_worker.main(); print(os.sched_getscheduler(0))"
    command = [sys.executable, "-c", program, *urgency]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    assert int(done.stdout) == getattr(os, scheduled)
