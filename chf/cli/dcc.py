"""`chf dcc`: the DCC side of the bench."""

from pathlib import Path
from typing import Any

import click

from chf.cli.ask import await_answer
from chf.cli.dcc_cs06 import cs06, cs08, ecs52, gcs38
from chf.cli.dcc_pki import pki
from chf.cli.dcc_queue import queue
from chf.cli.dcc_registers import device, product
from chf.cli.dcc_serve import load_schema, serve
from chf.cli.image_options import KindParameter
from chf.cli.options import UTC_TIME, home_option, json_option, print_json, talk
from chf.cli.run import open_pki
from chf.clock import SystemClock, UtcSeconds
from chf.dcc.desk import Desk
from chf.dcc.intake import IntakePolicy
from chf.dcc.reception import Reception, receive
from chf.duis import DuisSchema, ResponseCode, ServiceReference
from chf.duis.document import LARGEST_DOCUMENT_OCTETS, parse_document
from chf.duis.header import peek
from chf.errors import RefusedError, UsageError
from chf.eui64 import format_eui64
from chf.image.image import ImageKind
from chf.ota.model import ActivateAt, ActivateHold, ActivateNow, Activation
from chf.store import Store


@click.group()
def dcc() -> None:
    """The DCC side: service requests in, answers and alerts out, inventory, product list, test PKI."""


dcc.add_command(pki)
dcc.add_command(serve)
dcc.add_command(queue)
dcc.add_command(device)
dcc.add_command(product)

_UPDATES = frozenset(reference.value for reference in ServiceReference)
_TAKEN = frozenset({ResponseCode.SUCCESS, ResponseCode.ACKNOWLEDGED})
dcc.add_command(cs06)
dcc.add_command(cs08)
dcc.add_command(ecs52)
dcc.add_command(gcs38)


@dcc.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--at", type=UTC_TIME, help="Activate then; the request itself has no word for it. Default: at once.")
@click.option("--hold", is_flag=True, help="Activate only on `chf update activate`.")
@click.option("--kind", type=KindParameter(), help="Read the request's image as this kind, whatever it looks like.")
@click.option(
    "--duis-xsd",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Validate against this DUIS schema first; the schemas that it imports lie beside it.",
)
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
    duis_xsd: Path | None,
    response_file: Path | None,
    home: Path,
    as_json: bool,
) -> None:
    """Take in a service request (DUIS XML: SR 11.4, and 8.11, 11.2, 11.3); - reads standard input.

    Refused devices are named with the reason, the others go on. Exit code 3 if none was accepted.
    """
    if at is not None and hold:
        raise UsageError("--at and --hold exclude each other")
    document = _read(file)
    schema = None if duis_xsd is None else load_schema(duis_xsd)
    service = _device_service(document)
    if service is not None:
        if at is not None or hold or kind is not None:
            raise UsageError(f"--at, --hold and --kind are for updates, not for service request {service}")
        _ask_desk(document, schema, home, response_file, as_json=as_json)
        return
    activation: Activation = ActivateHold() if hold else ActivateNow() if at is None else ActivateAt(at)
    with Store.open(home) as store:
        policy = IntakePolicy(image_kind=kind)
        reception = receive(store, document, SystemClock().now(), activation=activation, policy=policy, schema=schema)
        answer = None if reception.command is None else await_answer(store, home, reception.command)
    response = reception.response.to_bytes()
    _write(response_file, response)
    result = None if answer is None else answer.result
    if as_json:
        print_json(_described(reception, result))
    elif response_file is None:
        click.echo(response)
    _talk(reception, result)
    _judge(reception, result)


def _device_service(document: bytes) -> str | None:
    """The service of a request about one device; None for updates, and for what cannot be told."""
    sender = peek(parse_document(document))
    return sender[1] if sender is not None and sender[1] not in _UPDATES else None


def _ask_desk(
    document: bytes, schema: DuisSchema | None, home: Path, response_file: Path | None, *, as_json: bool
) -> None:
    """SR 8.11, 11.2 and 11.3 as they would come by HTTP."""
    pki_ = open_pki(home)
    with Store.open(home) as store:
        answer = Desk(store, pki_, schema=schema).take(document, SystemClock().now())
    _write(response_file, answer.document)
    if as_json:
        told = {"response_code": answer.code.value, "reason": answer.reason, "notes": list(answer.notes)}
        print_json({"schema": 1, **told})
    elif response_file is None:
        click.echo(answer.document)
    for note in answer.notes:
        talk(f"note: {note}")
    if answer.code not in _TAKEN:
        raise RefusedError(f"the request is refused: {answer.reason}")


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


def _described(reception: Reception, result: Any) -> dict[str, Any]:
    decision = reception.decision
    return {
        "schema": 1,
        "request": str(decision.request.request_id),
        "response_code": reception.response.code.value,
        "accepted": [format_eui64(device) for device in decision.accepted],
        "refused": [
            {"device": format_eui64(refusal.device), "reason": refusal.reason, "list": refusal.in_list.value}
            for refusal in decision.refused
        ],
        "request_refusal": None if decision.request_refusal is None else decision.request_refusal.reason,
        "notes": list(decision.notes),
        "queued": reception.command is not None and result is None,
        "started": [] if result is None else result["started"],
        "refused_by_hub": [] if result is None else result["refused"],
    }


def _talk(reception: Reception, result: Any) -> None:
    decision = reception.decision
    for note in decision.notes:
        talk(f"note: {note}")
    for refusal in decision.refused:
        talk(f"refused: {refusal}")
    if reception.command is not None and result is None:
        talk("queued: no hub runs on this home directory; `chf run` will start it")
    if result is not None:
        for line in result["started"]:
            talk(f"update {line['update']} for {line['device']}")
        for line in result["refused"]:
            talk(f"refused: {line['reason']}")


def _judge(reception: Reception, result: Any) -> None:
    if reception.decision.request_refusal is not None:
        raise RefusedError(f"the request is refused: {reception.decision.request_refusal.reason}")
    if not reception.decision.accepted or (result is not None and not result["started"]):
        raise RefusedError("no device was accepted")
