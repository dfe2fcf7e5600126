"""`chf doctor` on a machine that is well, and on one that is not."""

from pathlib import Path

from tests.support.programs import run_chf
from tests.support.virtual_dongle import virtual_dongle


def doctor(home: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = run_chf("doctor", "--json", *options, home=home)
    return done.code, {line["what"]: line for line in done.json["findings"]}


def test_a_new_home_is_well(tmp_path: Path) -> None:
    code, findings = doctor(tmp_path / "home")
    assert code == 0
    assert findings["bellows"]["verdict"] == "good"
    assert "made when it is needed" in findings["home"]["detail"]
    assert not (tmp_path / "home").exists()


def test_an_open_home_is_bad_and_the_advice_mends_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    code, findings = doctor(home)
    assert code == 1
    assert findings["home"]["verdict"] == "bad"
    assert findings["home"]["advice"] == f"chmod 700 {home}"
    home.chmod(0o700)
    assert doctor(home)[0] == 0


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "chf.db").write_bytes(b"not a database, and long enough to be looked at" * 100)
    code, findings = doctor(home)
    assert code == 1
    assert findings["store"]["verdict"] == "bad"
    assert (home / "chf.db").read_bytes().startswith(b"not a database")


def test_a_dongle_answers_for_itself(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path) as dongle:
        code, findings = doctor(tmp_path / "home", "--port", dongle.port)
    assert code == 0
    detail = findings[dongle.port]["detail"]
    assert detail.startswith("ezsp ")
    assert detail.endswith("64 devices find room on it")


def test_a_port_where_nobody_is_gets_bad(tmp_path: Path) -> None:
    code, findings = doctor(tmp_path / "home", "--port", "tcp://127.0.0.1:1")
    assert code == 1
    assert findings["tcp://127.0.0.1:1"]["verdict"] == "bad"
