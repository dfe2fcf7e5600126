"""Key agreements beside the event loop: what they come to, one at a time, and the loop goes on meanwhile."""

import asyncio
import sys
import threading

import pytest

from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import Certificate, CertificateAuthority, Suite
from chf.eui64 import Eui64
from chf.hub import key_agreement
from chf.hub.key_agreement import KeyAgreement, respond
from chf.keys import ComputationFailure, Compute, Computed
from chf.keys.effects import Token

BIG = 1 << 400


def issue(suite, subject):
    return CertificateAuthority.generate(suite, 0xCA, BIG).issue(subject, BIG + subject, BIG * 2)


def wanted(suite, *, certificate=None, ephemeral=None):
    octets = issue(suite, 2).certificate.octets if certificate is None else certificate
    point = Ephemeral.from_scalar(suite.curve, 55).public_key if ephemeral is None else ephemeral
    return Compute(Token(Eui64(2), 1), Certificate.from_bytes(suite, octets), point)


@pytest.mark.parametrize("suite", Suite)
def test_the_answer_is_what_the_device_computes(suite):
    hub, device = issue(suite, 1), issue(suite, 2)
    first, second = (respond(hub, wanted(suite)) for _ in range(2))
    assert isinstance(first, Computed)
    assert isinstance(second, Computed)
    assert first.ephemeral != second.ephemeral
    mine = Ephemeral.from_scalar(suite.curve, 55)
    expected = agree(device, mine, hub.certificate, first.ephemeral, initiator=True)
    assert (first.mac_u, first.mac_v, first.link_key) == (expected.mac_u, expected.mac_v, expected.link_key)


def test_what_is_wrong_with_the_device_is_an_answer_too():
    no_point = issue(Suite.TWO, 2).certificate.octets[:37] + b"\2" + bytes(36)
    hub = issue(Suite.TWO, 1)
    assert respond(hub, wanted(Suite.TWO, certificate=no_point)) is ComputationFailure.CERTIFICATE
    assert respond(hub, wanted(Suite.TWO, ephemeral=b"\2" + bytes(36))) is ComputationFailure.EPHEMERAL


async def test_one_is_computed_at_a_time_and_the_event_loop_goes_on(monkeypatch):
    running, most, held, before = 0, 0, threading.Event(), sys.getswitchinterval()

    def compute(own, asked):
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert held.wait(60), "set by the event loop"
        running -= 1
        return ComputationFailure.EPHEMERAL

    monkeypatch.setattr(key_agreement, "respond", compute)
    agreement, question = KeyAgreement({Suite.ONE: issue(Suite.ONE, 1)}), wanted(Suite.ONE)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(agreement.compute(question))
        while not running:  # noqa: ASYNC110 a thread tells nobody
            await asyncio.sleep(0)
        assert sys.getswitchinterval() == pytest.approx(key_agreement.SWITCH_S)
        held.set()
    assert most == 1
    assert sys.getswitchinterval() == before
