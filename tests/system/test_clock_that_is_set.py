"""Real processes on a machine whose clock is ten days behind, and is set while the hub runs."""

import pytest

from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick
from tests.support.virtual_dongle import EUI64

CONFIG = "[ota]\nhold_wait_s = 1\n"
BEHIND_S = 10 * 86_400.0
_OFF_BY_A_FILE = """
import time
real = time.time
def off():
    with open({path!r}) as file:
        return real() + float(file.read())
time.time = off
"""


@pytest.fixture
def set_clock(tmp_path, monkeypatch):
    """Sets it, for every Python process that is started from here on, by so many seconds."""
    file, hook = tmp_path / "off", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_OFF_BY_A_FILE.format(path=str(file)))
    monkeypatch.setenv("PYTHONPATH", str(hook))

    def put(seconds: float) -> None:
        draft = tmp_path / "off.new"
        draft.write_text(str(seconds))
        draft.replace(file)

    put(0.0)
    return put


def test_an_update_outlives_a_clock_that_is_set_and_a_hub_that_is_killed_right_after(tmp_path, set_clock):
    set_clock(-BEHIND_S)
    with bench(tmp_path, quick()) as desk:
        desk.start_hub(config=CONFIG)
        desk.admit(EUI64)
        number = desk.start_update(image_file(tmp_path / "new.ota", size_bytes=2000), "--hold", "--expires", "3600")
        desk.until_state(number, UpdateState.WAITING)
        left_s = desk.update(number).deadline - desk.update(number).created
        set_clock(0.0)
        desk.kill_hub()
        desk.start_hub(config=CONFIG)
        desk.until(lambda: desk.events(Kind.CLOCK_STEPPED), "the step to be measured")
        (step,) = desk.events(Kind.CLOCK_STEPPED)
        assert step.fields["seconds"] == pytest.approx(BEHIND_S, abs=2)
        update = desk.update(number)
        assert update.active
        assert update.deadline == pytest.approx(update.created + BEHIND_S + left_s, abs=2), "as long left as before"

        assert "is not trusted" in desk.chf("watch", "--once").err
        refused = desk.chf("update", "activate", str(number), "--at", "+1h", code=3)
        assert "nothing is appointed while the clock is not trusted" in refused.err
        assert "the hub trusts the clock" in desk.chf("clock", "trust").err
        desk.until(lambda: desk.events(Kind.CLOCK_TRUSTED), "the clock to be trusted")
        assert desk.chf("clock", "show", "--json").json["trusted"]
        desk.chf("update", "activate", str(number))
        desk.until_state(number, UpdateState.ACTIVATED)
