"""The table of who may say what under which protection, and what becomes of a message that may not come in."""

from types import SimpleNamespace

import pytest

from chf.clock import SystemClock
from chf.eui64 import Eui64
from chf.hub.gate import CLUSTERS, OTHERS, Gate, Protection
from chf.hub.settings import SecurityMode
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, Inbound, Outbound
from chf.zcl import basic, key_establishment, ota, time, tunneling

SECURED = (ota.CLUSTER, time.CLUSTER, tunneling.CLUSTER, 0x0700, 0x0701, 0x0702, 0x0703, 0x0015, 0x0708)
DEVICE = Eui64(0x00DB_1234_5678_90A4)
READ = bytes.fromhex("00 07 00 0000")


class Devices:
    """Of the device log, what the gate asks."""

    def __init__(self, *, known=True, established=False):
        self.known, self.established, self.refused = known, established, 0

    def get(self, _device):
        return SimpleNamespace() if self.known else None

    def has_key(self, _device):
        return self.established

    def refuse(self, _device, _now):
        self.refused += 1
        return self.refused


def said(cluster, *, secured=True, profile=SMART_ENERGY_PROFILE, endpoint=HUB_ENDPOINT, broadcast=False):
    return Inbound(DEVICE, 3, endpoint, profile, cluster, READ, secured, broadcast, 255, None)


def asked(cluster, mode, secured, established):
    refusal = Gate(Devices(established=established), mode).refusal(said(cluster, secured=secured))
    answer = Outbound(DEVICE, 3, cluster, READ, aps_secured=secured)
    assert Gate(Devices(established=established), mode).lets_out(answer) is (refusal is None)
    assert refusal is None or refusal.is_answered
    return None if refusal is None else refusal.reason


@pytest.mark.parametrize("cluster", SECURED)
def test_what_smart_energy_wants_secured_is_refused_without(cluster):
    for mode in SecurityMode:
        assert asked(cluster, mode, secured=True, established=True) is None
        assert asked(cluster, mode, secured=False, established=True) == "without APS link-key security"
    assert asked(cluster, SecurityMode.LAB, secured=True, established=False) is None
    assert asked(cluster, SecurityMode.CBKE, secured=True, established=False) == "before key establishment"


@pytest.mark.parametrize("established", [True, False])
def test_key_establishment_and_basic_are_open_to_devices_without_a_key(established):
    for mode in SecurityMode:
        for secured in (True, False):
            assert asked(basic.CLUSTER, mode, secured=secured, established=established) is None
        cluster = key_establishment.CLUSTER
        assert asked(cluster, mode, secured=False, established=established) is None
        assert (
            asked(cluster, mode, secured=True, established=established) == "under a link key, where there is to be none"
        )


def test_every_rule_names_its_source():
    assert all(rule.source for rule in (*CLUSTERS.values(), OTHERS))
    assert OTHERS.protection is Protection.LINK_KEY


@pytest.mark.parametrize(
    ("message", "known", "reason"),
    [
        (said(time.CLUSTER), False, "not in the device log"),
        (said(time.CLUSTER, profile=0x0104), True, "not for the hub's Smart Energy endpoint"),
        (said(time.CLUSTER, endpoint=1), True, "not for the hub's Smart Energy endpoint"),
        (said(ota.CLUSTER, broadcast=True), True, "a request by broadcast"),
        (said(ota.CLUSTER, broadcast=True, secured=False), True, "without APS link-key security"),
    ],
)
def test_some_refusals_are_not_answered(message, known, reason):
    gate = Gate(Devices(known=known), SecurityMode.LAB)
    refusal = gate.refusal(message)
    assert (refusal.reason, refusal.is_answered) == (reason, False)
    assert gate.refuse(message, refusal, SystemClock().now()).messages == []


def test_a_flood_of_refused_messages_is_traced_once_and_each_is_answered_in_the_clear():
    gate = Gate(Devices(), SecurityMode.LAB)
    message = said(ota.CLUSTER, secured=False)
    batches = [gate.refuse(message, gate.refusal(message), SystemClock().now()) for _ in range(3)]
    assert [len(batch.writes) for batch in batches] == [1, 0, 0]
    for batch in batches:
        (answer,) = batch.messages
        assert not answer.aps_secured
        assert gate.lets_out(answer)
