"""`chf run` once the hub is up."""

import gc

from chf.cli.run import _ready
from chf.radio.interface import RadioInfo


def test_the_collector_leaves_alone_what_is_there_when_the_hub_is_up(capsys):
    before = gc.get_freeze_count()
    try:
        _ready(RadioInfo("ezsp", "none", 13, network=None))
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
    assert "the hub is up" in capsys.readouterr().err
