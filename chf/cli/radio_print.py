"""How the commands of `chf radio` show a dongle."""

from chf.cli.options import print_json, print_table
from chf.radio.interface import RadioInfo
from chf.radio.security_report import SecurityReport


def print_info(port: str, info: RadioInfo, *, as_json: bool) -> None:
    described = {"port": port, **info.as_json()}
    if as_json:
        print_json({"schema": 1, **described})
        return
    rows = [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in described.items()]
    print_table(["FIELD", "VALUE"], rows)


def print_security(port: str, report: SecurityReport, *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": 1, "port": port, **report.as_json()})
        return
    print_info(port, report.info, as_json=False)
    print_table(["ASKED", "ANSWER", "FOR"], [(seen.name, seen.value, seen.question) for seen in report.observations])
    rows = [(item.name, item.text, item.standing.value, item.answer) for item in report.questions]
    print_table(["", "QUESTION", "STANDING", "AS FAR AS THE STICK SAYS"], rows)
