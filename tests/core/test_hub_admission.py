"""The table of who may say what under which protection."""

import pytest

from chf.hub.admission import BEFORE_A_KEY, CLUSTERS, OTHERS, Protection, SecurityMode, refusal
from chf.zcl import basic, key_establishment, ota, time, tunneling

SECURED = (ota.CLUSTER, time.CLUSTER, tunneling.CLUSTER, 0x0700, 0x0701, 0x0702, 0x0703, 0x0015, 0x0708)


def asked(cluster, mode, secured, established):
    return refusal(cluster, mode, aps_secured=secured, established=established)


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
    assert CLUSTERS.keys() >= BEFORE_A_KEY
