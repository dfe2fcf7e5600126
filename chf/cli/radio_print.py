"""How the commands of `chf radio` show a dongle."""

from chf.cli.options import print_json, print_table
from chf.radio.interface import RadioInfo


def print_info(port: str, info: RadioInfo, *, as_json: bool) -> None:
    described = {"port": port, **info.as_json()}
    if as_json:
        print_json({"schema": 1, **described})
        return
    rows = [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in described.items()]
    print_table(["FIELD", "VALUE"], rows)
