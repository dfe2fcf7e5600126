"""One DCC side on a store: a second one would post the same documents again. The lock ends with its process."""

import signal

import pytest

from chf.store.lock import Only, holder_pid, hub_running
from tests.support.dcc_bench import make_pki
from tests.support.programs import run_chf
from tests.support.supplier import serving

NOBODY = "tcp://127.0.0.1:1"
SECOND_ONES = {
    "serve": ("dcc", "serve", "--listen", "127.0.0.1:0"),
    "run": ("run", "--port", NOBODY, "--dcc", "127.0.0.1:0"),
}


@pytest.fixture
def home(tmp_path):
    make_pki(tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("second", SECOND_ONES.values(), ids=SECOND_ONES)
def test_a_second_dcc_side_is_told_who_has_the_store_and_ends(home, second):
    with serving(home) as first:
        ran = run_chf(*second, home=home)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"chf: a DCC side runs on {home} already (process {first.process.pid}): "
            "stop it first, or give another --home\n"
        )
        assert not hub_running(home)
        assert holder_pid(home, Only.DCC_SIDE) == first.process.pid, "the first one is not disturbed"
        assert first.post(b"?", "serviceD")[0] == 400, "and still answers"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dcc_side_that_has_ended_leaves_the_store_to_the_next(home, number):
    with serving(home) as first:
        first.process.send_signal(number)
        assert first.process.wait(10) == (-number if number == signal.SIGKILL else 0)
    assert holder_pid(home, Only.DCC_SIDE) is None
    with serving(home) as second:
        assert holder_pid(home, Only.DCC_SIDE) == second.process.pid
        assert run_chf("dcc", "queue", "list", home=home).code == 0, "commands are welcome beside it"
        assert f"process {second.process.pid}" in run_chf("doctor", home=home).out


def test_a_dcc_side_that_cannot_listen_lets_the_lock_go(home):
    with serving(home) as first:
        port = first.host.rpartition(":")[2]
        other = home.parent / "other"
        make_pki(other)
        ran = run_chf("dcc", "serve", "--listen", f"127.0.0.1:{port}", home=other)
        assert (ran.code, "cannot listen" in ran.err) == (2, True)
        assert holder_pid(other, Only.DCC_SIDE) is None
