"""`chf update`: start, follow and call off firmware updates."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from chf.cli.ask import Answer, Deadline, HubWatch, ask, await_answer, await_hub, say_queued, submit
from chf.cli.image_options import KindParameter, limit_option
from chf.cli.options import (
    EUI64,
    UTC_TIME,
    SecondsParameter,
    home_option,
    json_option,
    page_options,
    print_json,
    print_table,
    rest_record,
    talk,
    tell_rest,
)
from chf.clock import SystemClock, UtcSeconds, isoformat
from chf.errors import ChfError, RefusedError, TimedOutError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.hub.commands import LONGEST_LIFETIME_S
from chf.image.image import FirmwareImage, ImageKind
from chf.store import Store, progress
from chf.store.inbox import Verb
from chf.trust import REMEDY, insist_on_trust
from chf.update.eligibility import HUB_ENFORCES, Check, Order, judge
from chf.update.model import (
    ActivateAt,
    ActivateHold,
    ActivateNow,
    Activation,
    Strategy,
    TimeForm,
    Update,
    UpdateId,
    UpdateState,
    activation_to_json,
)
from chf.view.records import event_detail, event_record, update_record

_POLL_S = 0.1  # our choice


class UpdateFailedError(ChfError):
    """The update ended otherwise than asked for; its state and reason are the message."""


@click.group()
def update() -> None:
    """Firmware updates: one image for one device, from acceptance to the version that the device then runs."""


def activation_options(command: Any) -> Any:
    command = click.option(
        "--at", type=UTC_TIME, help="Activate then: 2026-11-23T18:00:00Z, 18:00Z, '18:00 Europe/London', +8h."
    )(command)
    command = click.option(
        "--strategy",
        type=click.Choice([strategy.value for strategy in Strategy]),
        default=Strategy.PARK.value,
        show_default=True,
        help="With --at: keep back the last block until then (safe with every client), or hold the finished device.",
    )(command)
    return click.option(
        "--time-form",
        type=click.Choice([form.value for form in TimeForm]),
        default=TimeForm.RELATIVE.value,
        show_default=True,
        help="How a device is told the time: as an offset, or as UTC (for a client with the hub's time).",
    )(command)


timeout_option = click.option(
    "--timeout", "timeout_s", type=SecondsParameter(0), help="Seconds to wait; without it, as long as it takes."
)


def _activation(at: UtcSeconds | None, hold: bool, strategy: str, time_form: str) -> Activation:
    if at is not None and hold:
        raise UsageError("--at and --hold exclude each other")
    if hold:
        return ActivateHold()
    return ActivateNow() if at is None else ActivateAt(at, Strategy(strategy), TimeForm(time_form))


@update.command()
@click.option("--device", "devices", type=EUI64, multiple=True, required=True, help="May be given again.")
@click.option("--image", required=True, help="A file, or a stored image by its SHA-256 (or its beginning) or name.")
@click.option("--kind", type=KindParameter(), help="Read that file as this kind, whatever it looks like.")
@limit_option
@activation_options
@click.option("--hold", is_flag=True, help="Download, and activate only on `chf update activate`.")
@click.option(
    "--expires", "expires_s", type=SecondsParameter(1, LONGEST_LIFETIME_S), help="Seconds until it is given up."
)
@click.option("--allow-downgrade", is_flag=True, help="Also where a device runs a newer version.")
@click.option("--wait", is_flag=True, help="Follow it to its end; where no hub runs, wait for one.")
@timeout_option
@home_option
@json_option
def start(
    *,
    devices: tuple[Eui64, ...],
    image: str,
    kind: ImageKind | None,
    limit_bytes: int,
    at: UtcSeconds | None,
    hold: bool,
    strategy: str,
    time_form: str,
    expires_s: float | None,
    allow_downgrade: bool,
    wait: bool,
    timeout_s: float | None,
    home: Path,
    as_json: bool,
) -> None:
    """Update devices of the device log to an image. With --wait: exit code 0 only if all are activated, 4 if --timeout
    is over first.
    """
    if timeout_s is not None and not wait:
        raise UsageError("--timeout limits --wait: give both")
    deadline = Deadline(timeout_s)
    activation = _activation(at, hold, strategy, time_form)
    with Store.open(home) as store:
        if all(store.devices.get(device) is None for device in devices):
            raise RefusedError(f"{format_eui64(devices[0])} is not in the device log: `chf device add` it first")
        now = store.watched(SystemClock()).now()
        if at is not None:
            insist_on_trust(now)
        loaded = _stored(store, image, kind, limit_bytes)
        order, enforced = Order(loaded, activation, utc=now.utc), HUB_ENFORCES
        if allow_downgrade:
            enforced -= {Check.DOWNGRADE}
        verdicts = {device: judge(store.candidate(device), order, enforced) for device in devices}
        body = {
            "devices": [format_eui64(device) for device in dict.fromkeys(devices)],
            "image": loaded.sha256,
            "activation": activation_to_json(activation),
            "allow_downgrade": allow_downgrade,
            "lifetime_s": expires_s,
            "origin": "cli",
        }
        command = submit(store, Verb.UPDATE_START, body)
        if wait:
            answer = Answer(command, await_hub(store, home, command, deadline))
        else:
            answer = await_answer(store, home, command)
        if answer.result is None:
            if as_json:
                print_json({"schema": 1, "queued": True, "started": [], "refused": []})
            say_queued()
            for device, verdict in verdicts.items():
                if verdict.refusal is not None:
                    talk(f"as things stand the hub will refuse it for {format_eui64(device)}: {verdict.refusal.reason}")
                for note in verdict.notes:
                    if note.check is Check.EARLY_ACTIVATION:
                        talk(f"warning: {format_eui64(device)}: {note.reason}")
            return
        started, refused = answer.result["started"], answer.result["refused"]
        if as_json and not wait:
            print_json({"schema": 1, "queued": False, "started": started, "refused": refused})
        for line in started:
            talk(f"update {line['update']} for {line['device']}")
            _warn(line)
        for line in refused:
            talk(f"refused: {line['reason']}")
        if refused and not started:
            raise RefusedError("no device was accepted")
        if wait:
            follow(store, home, [UpdateId(line["update"]) for line in started], deadline, as_json=as_json)
        if refused:  # the others were served, and a script must not take that for all
            raise RefusedError(f"{len(refused)} of {len(started) + len(refused)} devices were refused")


def _stored(store: Store, image: str, kind: ImageKind | None, limit_bytes: int) -> FirmwareImage:
    """A stored image, or a file that is stored now."""
    path = Path(image)
    if not path.is_file():
        return store.images.load(store.images.find(image).sha256)
    from chf.cli.image_options import load_image  # only here are files read
    from chf.cli.image_stored import file_name, keep

    loaded = load_image(path, kind=kind, limit_bytes=limit_bytes)
    keep(store, loaded, file_name(path))
    return loaded


@update.command("list")
@click.option("--active", is_flag=True, help="Only those that have not ended.")
@page_options(50)
@home_option
@json_option
def list_updates(*, active: bool, last: int, since: UtcSeconds | None, home: Path, as_json: bool) -> None:
    """The last updates, oldest first."""
    with Store.open(home) as store:
        updates = store.updates.list(active_only=active, since=since, last=last or None)
        lines = [_described(store, update) for update in updates]
    if as_json:
        print_json({"schema": 1, "updates": lines, **rest_record(updates)})
        return
    rows = [
        (
            str(line["update"]),
            line["device"],
            line["file_version"],
            line["state"],
            f"{line['percent']:.0f} %" if line["percent"] is not None else "-",
            line["reason"],
        )
        for line in lines
    ]
    print_table(["UPDATE", "DEVICE", "TO VERSION", "STATE", "SENT", "REASON"], rows)
    tell_rest(updates)


@update.command()
@click.argument("number", type=click.IntRange(1))
@home_option
@json_option
def show(*, number: int, home: Path, as_json: bool) -> None:
    """One update, with its history."""
    with Store.open(home) as store:
        update = _update(store, UpdateId(number))
        described = _described(store, update)
        records = store.audit.of_update(number)
        waits = _waits_for_clock(store, update)
    history = [record.event for record in records]
    if as_json:
        told = [event_record(event) for event in history]
        print_json({"schema": 1, **described, "history": told, **rest_record(records)})
        return
    print_table(
        ["FIELD", "VALUE"],
        [(name.replace("_", " "), "-" if value is None else str(value)) for name, value in described.items()],
    )
    if waits:
        talk(waits)
    click.echo()
    print_table(
        ["TIME", "EVENT", "DETAIL"],
        [(isoformat(event.utc), event.kind.value, event_detail(event)) for event in history],
    )
    tell_rest(records)


@update.command()
@click.argument("numbers", type=click.IntRange(1), nargs=-1, required=True)
@timeout_option
@home_option
@json_option
def wait(*, numbers: tuple[int, ...], timeout_s: float | None, home: Path, as_json: bool) -> None:
    """Follow updates to their end. Exit code 0 only if all are activated; 4 if the time is over first."""
    with Store.open(home) as store:
        follow(store, home, [UpdateId(number) for number in numbers], Deadline(timeout_s), as_json=as_json)


def follow(store: Store, home: Path, numbers: list[UpdateId], deadline: Deadline, *, as_json: bool) -> None:
    from chf.view.bars import TransferBars  # rich is slow to import

    hub, waited = HubWatch(home), ""
    with TransferBars() as bars:
        while True:
            updates = [_update(store, number) for number in numbers]
            for update in updates:
                bars.show(update, progress.read(store.meta, update.id))
            waits = next(filter(None, (_waits(store, update) for update in updates)), "")
            if waits not in ("", waited):
                talk(waits)
            waited = waits
            if not any(update.active for update in updates):
                break
            hub.running()
            if deadline.passed:
                raise TimedOutError(f"not ended in {deadline.timeout_s:g} s: " + ", ".join(map(_state, updates)))
            time.sleep(_POLL_S)
    if as_json:
        print_json({"schema": 1, "updates": [_described(store, update) for update in updates]})
    for update in updates:
        talk(_state(update))
    failed = [update for update in updates if update.state is not UpdateState.ACTIVATED]
    if failed:
        raise UpdateFailedError(f"{len(failed)} of {len(updates)} updates did not end as activated")


def _waits(store: Store, update: Update) -> str:
    """What a person who follows it should know, empty where there is nothing."""
    return _state(update) if update.unverified else _waits_for_clock(store, update)


def _waits_for_clock(store: Store, update: Update) -> str:
    """Why its activation time waits, empty where it does not."""
    if not update.active or not isinstance(update.activation, ActivateAt):
        return ""
    now = store.watched(SystemClock()).now()
    if now.trusted:
        return ""
    return f"the clock is not trusted, so the activation time waits: {now.distrust}; {REMEDY}"


def _state(update: Update) -> str:
    return f"update {update.id} is {update.state.value}" + (f": {update.reason}" if update.reason else "")


@update.command()
@click.argument("number", type=click.IntRange(1))
@home_option
@json_option
def cancel(*, number: int, home: Path, as_json: bool) -> None:
    """Call an update off. Refused (exit code 3) once the device was told a real time: it counts down by itself.

    An unverified update, of which nobody knows what its device runs, is given up and ends as failed.
    """
    with Store.open(home) as store:
        _update(store, UpdateId(number))
        answer = ask(store, home, Verb.UPDATE_CANCEL, {"update": number})
    answer.say(f"update {number} is cancelled", as_json=as_json)


@update.command()
@click.argument("number", type=click.IntRange(1))
@activation_options
@home_option
@json_option
def activate(*, number: int, at: UtcSeconds | None, strategy: str, time_form: str, home: Path, as_json: bool) -> None:
    """Decide when: at once, or --at a time. Ends a hold and moves an appointment, until a real time was given."""
    activation = _activation(at, hold=False, strategy=strategy, time_form=time_form)
    with Store.open(home) as store:
        _update(store, UpdateId(number))
        if at is not None:
            insist_on_trust(store.watched(SystemClock()).now())
        answer = ask(
            store, home, Verb.UPDATE_ACTIVATE, {"update": number, "activation": activation_to_json(activation)}
        )
    answer.say(f"update {number} will be activated", as_json=as_json)
    _warn(answer.result or {})


def _warn(result: Mapping[str, Any]) -> None:
    """The hub's word for what the device may do before its time."""
    if (warning := result.get("warning")) is not None:
        talk(f"warning: update {result['update']}: {warning}")


def _update(store: Store, number: UpdateId) -> Update:
    update = store.updates.get(number)
    if update is None:
        raise UsageError(f"there is no update {number}")
    return update


def _described(store: Store, update: Update) -> dict[str, Any]:
    return update_record(update, progress.read(store.meta, update.id))
