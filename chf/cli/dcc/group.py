"""`chf dcc`: the DCC side of the bench."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from chf.cli.ask import await_answer, say_queued
from chf.cli.dcc.cs06 import cs06, cs08, ecs52, gcs38
from chf.cli.dcc.pki import open_pki, pki
from chf.cli.dcc.queue import command, queue
from chf.cli.dcc.registers import device, product
from chf.cli.dcc.serve import IntakeRules, intake_options, serve
from chf.cli.image_options import KindParameter
from chf.cli.options import UTC_TIME, home_option, json_option, print_json, talk
from chf.clock import SystemClock, UtcSeconds
from chf.dcc.desk import Answer, Desk
from chf.dcc.intake import DeviceRefusal
from chf.duis import ResponseCode, ServiceReference
from chf.duis.document import LARGEST_DOCUMENT_OCTETS, parse_document
from chf.duis.header import peek
from chf.errors import RefusedError, UsageError
from chf.eui64 import format_eui64
from chf.image.image import ImageKind
from chf.store import Store
from chf.update.model import ActivateAt, ActivateHold, ActivateNow, Activation


@click.group()
def dcc() -> None:
    """The DCC side: service requests in, answers and alerts out, inventory, product list, test PKI."""


for _command in (pki, serve, queue, command, device, product, cs06, cs08, ecs52, gcs38):
    dcc.add_command(_command)


_UPDATES = frozenset(reference.value for reference in ServiceReference)
_MOST_SAID = 20  # of 50,000 refused devices nobody reads every line
_TAKEN = frozenset({ResponseCode.SUCCESS, ResponseCode.ACKNOWLEDGED})


@dcc.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--at", type=UTC_TIME, help="Activate then; the request itself has no word for it. Default: at once.")
@click.option("--hold", is_flag=True, help="Activate only on `chf update activate`.")
@click.option("--kind", type=KindParameter(), help="Read the request's image as this kind, whatever it looks like.")
@intake_options()
@click.option(
    "--response", "response_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the DUIS response here."
)
@home_option
@json_option
def submit(
    *,
    file: Path,
    at: UtcSeconds | None,
    hold: bool,
    kind: ImageKind | None,
    rules: IntakeRules,
    response_file: Path | None,
    home: Path,
    as_json: bool,
) -> None:
    """Take in a service request (DUIS XML: SR 8.11, 11.1, 11.2, 11.3, 11.4); - reads standard input.

    It is checked as `chf dcc serve` checks it. Refused devices are named with the reason, the others go on. Exit code 3
    if nothing was accepted.
    """
    if at is not None and hold:
        raise UsageError("--at and --hold exclude each other")
    document = _read(file)
    if at is not None or hold or kind is not None:
        _insist_on_update(document)
    activation: Activation = ActivateHold() if hold else ActivateNow() if at is None else ActivateAt(at)
    settings, signers, schema = rules.load()
    intake = replace(settings.policy.intake(), image_kind=kind)
    pki_ = open_pki(home)
    with Store.open(home) as store:
        desk = Desk(store, pki_, settings, signers=signers, schema=schema, intake=intake)
        answer = desk.take(document, store.watched(SystemClock()).now(), activation=activation)
        done = None if answer.command is None else await_answer(store, home, answer.command)
    result = None if done is None else done.result
    _write(response_file, answer.document)
    if as_json:
        print_json(_described(answer, result))
    elif response_file is None:
        click.echo(answer.document)
    _talk(answer, result)
    _judge(answer, result)


def _insist_on_update(document: bytes) -> None:
    sender = peek(parse_document(document))
    if sender is not None and sender.service not in _UPDATES:
        raise UsageError(f"--at, --hold and --kind are for updates, not for service request {sender.service}")


def _write(response_file: Path | None, response: bytes) -> None:
    if response_file is None:
        return
    try:
        response_file.write_bytes(response)
    except OSError as error:
        raise UsageError(f"cannot write {response_file}: {error.strerror}") from error


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as stream:
            document = stream.read(LARGEST_DOCUMENT_OCTETS + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    assert isinstance(document, bytes)
    return document


def _described(answer: Answer, result: Any) -> dict[str, Any]:
    """The same for every service; what concerns updates alone is there for updates alone."""
    told: dict[str, Any] = {
        "schema": 1,
        "request": str(answer.request_id),
        "service": answer.service,
        "response_code": answer.code.value,
        "reason": answer.reason,
        "notes": list(answer.notes),
    }
    decision = answer.decision
    if answer.service in _UPDATES:
        told |= {
            "accepted": [] if decision is None else [format_eui64(device) for device in decision.accepted],
            "refused": [] if decision is None else [_refused(refusal) for refusal in decision.refused],
            "request_refusal": answer.reason if _is_refused(answer) else None,
            "queued": answer.command is not None and result is None,
            "started": [] if result is None else result["started"],
            "refused_by_hub": [] if result is None else result["refused"],
        }
    return told


def _refused(refusal: DeviceRefusal) -> dict[str, str]:
    return {"device": format_eui64(refusal.device), "reason": refusal.reason, "list": refusal.in_list.value}


def _is_refused(answer: Answer) -> bool:
    """As a whole. An update that no device may have is refused device by device."""
    if answer.decision is not None:
        return answer.decision.request_refusal is not None
    return answer.code not in _TAKEN


def _talk(answer: Answer, result: Any) -> None:
    for note in answer.notes:
        talk(f"note: {note}")
    refused = () if answer.decision is None else answer.decision.refused
    for refusal in refused[:_MOST_SAID]:
        talk(f"refused: {refusal}")
    if len(refused) > _MOST_SAID:
        talk(f"refused: {len(refused) - _MOST_SAID} more; the response and --json name them all")
    if answer.command is not None and result is None:
        say_queued()
    if result is not None:
        for line in result["started"]:
            talk(f"update {line['update']} for {line['device']}")
        for line in result["refused"]:
            talk(f"refused: {line['reason']}")


def _judge(answer: Answer, result: Any) -> None:
    if _is_refused(answer):
        raise RefusedError(f"the request is refused: {answer.reason}")
    if answer.decision is not None and (not answer.decision.accepted or (result is not None and not result["started"])):
        raise RefusedError("no device was accepted")
