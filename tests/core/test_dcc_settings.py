"""The file of `chf dcc serve --config`: what is wrong with it is one sentence that names the file."""

from pathlib import Path

import pytest

from chf.dcc.settings import DccSettings
from chf.errors import UsageError


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"a = " + b"1" * 10_000, "is not TOML"),
        (b"[policy\n", "is not TOML"),
        (b"a = '\xff'", "is not TOML"),
        (b"[users]\n", "'users' is not known; there are user, policy, delivery"),
        (b"user = 1\n", "users are written [[user]]"),
    ],
    ids=["depth", "digits", "bracket", "octets", "name", "users"],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "dcc.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        DccSettings.load(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
