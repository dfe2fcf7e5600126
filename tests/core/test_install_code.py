"""Install codes as labels, files and people give them."""

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.crypto.install_code import link_key, parse_install_code
from chf.errors import ChfError, UsageError
from chf.eui64 import Eui64
from chf.store import Store

DEVICE = Eui64(0x00DB1234567890A4)
CODE = "83FED3407A939723A5C639B26916D505C3B5"  # SE 5.4.8.1.1.4, the example, and so the key
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
WRITTEN = {
    "hex": CODE,
    "small": CODE.lower(),
    "0x": f"0x{CODE}",
    "groups": "83FE D340 7A93 9723 A5C6 39B2 6916 D505 C3B5",
    "hyphens": "83-FE-D3-40-7A-93-97-23-A5-C6-39-B2-69-16-D5-05-C3-B5",
    "a line": f"  {CODE}\r\n",
    "QR": f"Z:00DB1234567890A4$I:{CODE}",
    "longer QR": f"G$M:1234$Z:00db1234567890a4$I:{CODE}%20",
    "bars": f"|00DB1234567890A4|{CODE}|",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_label_is_read_however_it_is_written(text):
    assert link_key(parse_install_code(text, DEVICE)) == KEY
    assert parse_install_code(text) == bytes.fromhex(CODE)


def test_a_label_without_crc_gets_one():
    assert parse_install_code(f"0x{CODE[:-4]}", crc=False) == bytes.fromhex(CODE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "8, 10, 14 or 18 octets, not 0"),
        (CODE[:-2], "octets, not 17"),
        (f"{CODE[:-1]}6", "does not fit: compare it"),
        ("0x83FEZZ", "hex digits"),
        (f"Z:00DB1234567890A5$I:{CODE}", "that of 00-DB-12-34-56-78-90-A5"),
    ],
)
def test_a_label_that_is_wrong_is_not_repeated(text, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse_install_code(text, DEVICE)
    assert CODE[:8] not in str(caught.value)


@pytest.fixture
def add(tmp_path):
    home = tmp_path / "home"
    home.mkdir()

    def run(*options, stdin=""):
        """The key that the log then has, or what went wrong."""
        command = ["device", "add", "00-DB-12-34-56-78-90-A4", *options, "--home", str(home)]
        found = CliRunner().invoke(chf, command, input=stdin)
        if found.exception is not None:
            return found.exception
        with Store.open(home) as store:
            return store.devices.get(DEVICE).install_code_link_key

    return run


def test_the_code_comes_out_of_a_file_or_standard_input_and_not_from_nobody(add, tmp_path):
    file = tmp_path / "label"
    file.write_text(f"\ufeff{CODE}\n", encoding="utf-8")
    file.chmod(0o640)
    assert "chmod 600" in str(add("--install-code-file", str(file)))
    file.chmod(0o600)
    for given, stdin in ((("--install-code", CODE, "--install-code-file", str(file)), ""), ((), CODE)):
        assert isinstance(add(*given, stdin=stdin), ChfError)
    assert add("--install-code-file", str(file)) == KEY


def test_the_code_is_read_from_standard_input(add):
    assert add("--install-code", "-", stdin=f"{CODE}\n") == KEY
