"""What may become of an update, and of its transfer: two tables, and the functions that apply them.

An update is what people follow, from acceptance to one of five ends. Its transfer is what goes on with the device in
between: it begins when the image is offered and tells the update what it comes to (docs/adr/0014 says why there are
two). `docs/state-machines.md` is made from both.

The rules of the update, before its table:

1.  An end is final. What comes later changes neither state nor reason.
2.  What the table does not name changes nothing: late, early and repeated events are harmless.
3.  *activated* only after the device itself told that it runs the new version. Neither an Upgrade End nor a success
    alert is proof; a device that runs the new version before anybody told it to has activated by itself, and that is
    *activated* too, with the reason saying so. Rule 10 is the one exception.
4.  *reverted* only after the device claimed success (CS09 for this version) and, asked afterwards, told another
    version.
5.  A CS09 never ends an update: it asks for a fresh read-back, and the read-back ends it. So it makes no difference
    which of the two comes first. An old version that was told before the CS09 proves nothing: the device had yet to
    reboot.
6.  *failed* is the rest, always with a reason.
7.  Until a real upgrade time was given to the device, an update can be cancelled and can expire. After that it cannot:
    the device counts down by itself (facts of deployed clients), and only the read-back tells what became of it. Where
    that tells nothing for the whole time of the verification, the update says *unverified* and why, and stays open: it
    fails at its deadline, or when somebody gives it up.
8.  Every update that ends has told the outcome of its transfer upward in one CCS08, also if it never began one.
9.  What a device runs is told by (manufacturer code, image type). Only the file's own moves the update. A version that
    is absent, unreadable or 0xFFFFFFFF, or of an image that is not told, is not known, and concludes nothing.
10. New firmware may go by an image type of its own, so that the device never speaks of the file's again. That is taken
    for *activated* if from the upgrade time on the device named a type that it had never spoken of, with the version of
    the file, and for the whole time of a verification after that did not name the file's type, nor report failure. A
    device that has two images names both within that time.

The rules of the transfer:

11. Every change of state is a row of the table. An input that has no row is a mistake of the caller (`LookupError`),
    never ignored.
12. COMMITTED means that a real activation time was given, or may have been: a countdown in a device can neither be
    moved nor stopped. So there is no way from COMMITTED to CANCELLED, and none back to a state without a time.
13. The states before HELD and COMMITTED differ by what the device *can* do. It can activate by itself from SERVED on,
    where it has been sent every byte. PARKED is where it is kept from that, by withholding the last block.
14. RUNNING means that the device was heard to run the new version, whatever we did about it. It has a way in from every
    state that is not an end, because devices are updated behind our back too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from chf.clock import Now, isoformat
from chf.image.header import ImageType
from chf.update import reasons
from chf.update.effects import Action, Offer, RaiseTransferAlert, ReadVersion, TransferMoved, Withdraw
from chf.update.model import (
    ENDS,
    ActivateAt,
    ActivationGiven,
    ActivationOrdered,
    ActivationReport,
    ActivationReported,
    Announced,
    Cancelled,
    DeadlinePassed,
    DeviceRejoined,
    DownloadStarted,
    Refused,
    Stored,
    TransferEnded,
    TransferOutcome,
    TransferRecord,
    TransferState,
    Update,
    UpdateEvent,
    UpdateState,
    VerificationTimedOut,
    VersionObserved,
    WaitingFor,
    WaitReason,
    ordered,
)

S = UpdateState

FIRST_READ_S: Final = 2.0
"""From the upgrade time, a rejoin or a CS09 to the first read-back (our choice): a booting device answers little."""


Guard: TypeAlias = Callable[[Update, UpdateEvent], bool]
"""A condition on the update as it was and the event that came."""


def always(_update: Update, _event: UpdateEvent) -> bool:
    return True


def runs_target(update: Update, event: UpdateEvent) -> bool:
    return isinstance(event, VersionObserved) and event.file_version == update.file_version


def runs_another(update: Update, event: UpdateEvent) -> bool:
    return isinstance(event, VersionObserved) and event.file_version not in (None, update.file_version)


def reverted(update: Update, event: UpdateEvent) -> bool:
    return runs_another(update, event) and claimed_success(update)


def gave_up(update: Update, event: UpdateEvent) -> bool:
    return runs_another(update, event) and claimed_failure(update)


def goes_by_another_type(update: Update, _event: UpdateEvent) -> bool:
    return update.successor is not None and not claimed_failure(update)


def ran_another(update: Update, _event: UpdateEvent) -> bool:
    return update.version_seen is not None


def unverified(update: Update, _event: UpdateEvent) -> bool:
    return update.unverified


def ended_well(_update: Update, event: UpdateEvent) -> bool:
    return isinstance(event, TransferEnded) and event.outcome is TransferOutcome.SUCCESS


def ended_well_again(update: Update, event: UpdateEvent) -> bool:
    return transferred(update, event) and ended_well(update, event)


def transferred(update: Update, _event: UpdateEvent) -> bool:
    return update.transfer is TransferOutcome.SUCCESS


def not_transferred(update: Update, _event: UpdateEvent) -> bool:
    return update.transfer is None


def reports_transferred(update: Update, event: UpdateEvent) -> bool:
    """A device that has the whole image reports on this very version: it has tried, told to or not."""
    return (
        transferred(update, event)
        and isinstance(event, ActivationReported)
        and event.file_version == update.file_version
    )


def claimed_success(update: Update) -> bool:
    return update.report is not None and update.report.success and update.report.file_version == update.file_version


def claimed_failure(update: Update) -> bool:
    return update.report is not None and not update.report.success


@dataclass(frozen=True, slots=True)
class Case:
    """One way out of a cell of the table: the first case whose guard holds is taken, none means that nothing changes.

    `settle` is the transfer outcome to tell where none was told yet; `read` asks for a read-back, `offer` renews the
    offer, `withdraw` takes it back.
    """

    to: UpdateState
    when: Guard = always
    reason: reasons.Reason = reasons.none
    settle: TransferOutcome | None = None
    read: bool = False
    offer: bool = False
    withdraw: bool = False


_SENT = TransferOutcome.SUCCESS
_DISCARDED = TransferOutcome.IMAGE_DISCARDED
_CANCELLED = Case(S.CANCELLED, settle=_DISCARDED, withdraw=True)
_EXPIRED = Case(S.EXPIRED, reason=reasons.deadline, settle=_DISCARDED, withdraw=True)
_REFUSED = Case(S.FAILED, reason=reasons.of_event, settle=_DISCARDED, withdraw=True)
_ALREADY = Case(S.FAILED, when=runs_target, reason=reasons.already_runs, settle=_DISCARDED, withdraw=True)
_BY_ITSELF = Case(S.ACTIVATED, when=runs_target, reason=reasons.by_itself, settle=_SENT, withdraw=True)
_TRANSFER_FAILED = Case(S.FAILED, reason=reasons.of_event, withdraw=True)
_TRANSFER = (Case(S.DOWNLOADED, when=ended_well), _TRANSFER_FAILED)
_GIVEN = Case(S.ACTIVATING, settle=_SENT, read=True)
_TRIED = Case(S.ACTIVATING, when=reports_transferred, read=True)

Cell: TypeAlias = tuple[UpdateState, type[UpdateEvent]]

UPDATE: Final[Mapping[Cell, tuple[Case, ...]]] = MappingProxyType(
    {
        (S.ACCEPTED, Stored): (Case(S.STORED),),
        (S.ACCEPTED, VersionObserved): (_ALREADY,),
        (S.ACCEPTED, Cancelled): (_CANCELLED,),
        (S.ACCEPTED, Refused): (_REFUSED,),
        (S.ACCEPTED, DeadlinePassed): (_EXPIRED,),
        # stored
        (S.STORED, Announced): (Case(S.ANNOUNCED),),
        (S.STORED, DownloadStarted): (Case(S.DOWNLOADING),),
        (S.STORED, TransferEnded): _TRANSFER,
        (S.STORED, VersionObserved): (_ALREADY,),
        (S.STORED, Cancelled): (_CANCELLED,),
        (S.STORED, Refused): (_REFUSED,),
        (S.STORED, DeadlinePassed): (_EXPIRED,),
        # announced
        (S.ANNOUNCED, DownloadStarted): (Case(S.DOWNLOADING),),
        (S.ANNOUNCED, TransferEnded): _TRANSFER,  # a client with the whole image in flash asks for no block
        (S.ANNOUNCED, WaitingFor): (Case(S.WAITING),),
        (S.ANNOUNCED, ActivationGiven): (_GIVEN,),
        (S.ANNOUNCED, ActivationOrdered): (Case(S.ANNOUNCED, offer=True),),
        (S.ANNOUNCED, VersionObserved): (_ALREADY,),
        (S.ANNOUNCED, Cancelled): (_CANCELLED,),
        (S.ANNOUNCED, Refused): (_REFUSED,),
        (S.ANNOUNCED, DeadlinePassed): (_EXPIRED,),
        # downloading
        (S.DOWNLOADING, TransferEnded): _TRANSFER,
        (S.DOWNLOADING, WaitingFor): (Case(S.WAITING),),
        (S.DOWNLOADING, ActivationOrdered): (Case(S.DOWNLOADING, offer=True),),
        (S.DOWNLOADING, ActivationGiven): (_GIVEN,),
        (S.DOWNLOADING, ActivationReported): (Case(S.DOWNLOADING, read=True),),  # Upgrade End may have gone unheard
        (S.DOWNLOADING, VersionObserved): (_BY_ITSELF,),
        (S.DOWNLOADING, Cancelled): (_CANCELLED,),
        (S.DOWNLOADING, Refused): (_REFUSED,),
        (S.DOWNLOADING, DeadlinePassed): (_EXPIRED,),
        # downloaded
        (S.DOWNLOADED, TransferEnded): (Case(S.DOWNLOADED, when=ended_well), _TRANSFER_FAILED),
        (S.DOWNLOADED, WaitingFor): (Case(S.WAITING),),
        (S.DOWNLOADED, ActivationOrdered): (Case(S.DOWNLOADED, offer=True),),
        (S.DOWNLOADED, ActivationGiven): (_GIVEN,),
        (S.DOWNLOADED, ActivationReported): (_TRIED, Case(S.DOWNLOADED, read=True)),
        (S.DOWNLOADED, DeviceRejoined): (Case(S.DOWNLOADED, read=True),),
        (S.DOWNLOADED, VersionObserved): (_BY_ITSELF,),
        (S.DOWNLOADED, Cancelled): (_CANCELLED,),
        (S.DOWNLOADED, Refused): (_REFUSED,),
        (S.DOWNLOADED, DeadlinePassed): (_EXPIRED,),
        # waiting
        (S.WAITING, DownloadStarted): (Case(S.DOWNLOADING, when=not_transferred),),  # parked, and released
        (S.WAITING, TransferEnded): (Case(S.WAITING, when=ended_well_again), *_TRANSFER),
        (S.WAITING, WaitingFor): (Case(S.WAITING),),
        (S.WAITING, ActivationOrdered): (Case(S.WAITING, offer=True),),
        (S.WAITING, ActivationGiven): (_GIVEN,),
        (S.WAITING, ActivationReported): (_TRIED, Case(S.WAITING, read=True)),
        (S.WAITING, DeviceRejoined): (Case(S.WAITING, read=True),),
        (S.WAITING, VersionObserved): (_BY_ITSELF,),
        (S.WAITING, Cancelled): (_CANCELLED,),
        (S.WAITING, Refused): (_REFUSED,),
        (S.WAITING, DeadlinePassed): (_EXPIRED,),
        # activating
        (S.ACTIVATING, ActivationReported): (Case(S.ACTIVATING, read=True),),
        (S.ACTIVATING, DeviceRejoined): (Case(S.ACTIVATING, read=True),),
        (S.ACTIVATING, VersionObserved): (
            Case(S.ACTIVATED, when=runs_target, reason=reasons.verified, withdraw=True),
            Case(S.REVERTED, when=reverted, reason=reasons.reverted, withdraw=True),
            Case(S.FAILED, when=gave_up, reason=reasons.reported_failure, withdraw=True),
        ),
        (S.ACTIVATING, VerificationTimedOut): (
            Case(S.ACTIVATED, when=goes_by_another_type, reason=reasons.another_type, withdraw=True),
            Case(S.FAILED, when=ran_another, reason=reasons.not_seen, withdraw=True),
            Case(S.ACTIVATING, reason=reasons.unverified),
        ),
        (S.ACTIVATING, Cancelled): (Case(S.FAILED, when=unverified, reason=reasons.given_up, withdraw=True),),
        (S.ACTIVATING, DeadlinePassed): (Case(S.FAILED, when=unverified, reason=reasons.not_seen, withdraw=True),),
    }
)


class Input(StrEnum):
    """What moves a transfer."""

    ASK = "the device asks for the image or a block"
    WITHHOLD = "the last block is withheld"
    SERVE_LAST = "the last byte is sent, or said to be held"
    HOLD = "Upgrade End, answered with wait"
    COMMIT = "a real time is given"
    MISS = "the appointment passed unkept"
    RETRY = "the download is given up, and may begin again"
    SEE_VERSION = "the new version is seen"
    CANCEL = "cancelled"
    FAIL = "failed"


_WAYS_OUT = {Input.SEE_VERSION: TransferState.RUNNING, Input.FAIL: TransferState.FAILED}
_STOPPABLE = {**_WAYS_OUT, Input.CANCEL: TransferState.CANCELLED}

TRANSFER: Final[Mapping[TransferState, Mapping[Input, TransferState]]] = {
    TransferState.OFFERED: {
        Input.ASK: TransferState.DOWNLOADING,
        Input.MISS: TransferState.MISSED,  # it has every byte already, or was sent away until its time
        **_STOPPABLE,
    },
    TransferState.DOWNLOADING: {
        Input.WITHHOLD: TransferState.PARKED,
        Input.SERVE_LAST: TransferState.SERVED,
        Input.MISS: TransferState.MISSED,
        Input.RETRY: TransferState.OFFERED,
        **_STOPPABLE,
    },
    TransferState.PARKED: {
        Input.SERVE_LAST: TransferState.SERVED,
        Input.MISS: TransferState.MISSED,
        Input.RETRY: TransferState.OFFERED,
        **_STOPPABLE,
    },
    TransferState.SERVED: {
        Input.HOLD: TransferState.HELD,
        Input.COMMIT: TransferState.COMMITTED,
        Input.MISS: TransferState.MISSED,
        Input.RETRY: TransferState.OFFERED,
        **_STOPPABLE,
    },
    TransferState.HELD: {Input.COMMIT: TransferState.COMMITTED, Input.MISS: TransferState.MISSED, **_STOPPABLE},
    TransferState.MISSED: {
        Input.WITHHOLD: TransferState.PARKED,
        Input.SERVE_LAST: TransferState.SERVED,
        Input.HOLD: TransferState.HELD,
        Input.COMMIT: TransferState.COMMITTED,
        Input.RETRY: TransferState.OFFERED,
        **_STOPPABLE,
    },
    TransferState.COMMITTED: _WAYS_OUT,
    TransferState.RUNNING: {},
    TransferState.CANCELLED: {},
    TransferState.FAILED: {},
}
TRANSFER_ENDS: Final = frozenset(state for state, row in TRANSFER.items() if not row)


def event_of(moved: TransferMoved, record: TransferRecord) -> UpdateEvent | None:
    """What a change of the transfer's state is to its update; None where an event of its own tells it."""
    match moved.new:
        case TransferState.OFFERED:
            return Announced()
        case TransferState.DOWNLOADING | TransferState.SERVED:
            return DownloadStarted()
        case TransferState.PARKED | TransferState.HELD:
            until = record.activation.utc if isinstance(record.activation, ActivateAt) else None
            return WaitingFor(WaitReason.COMMAND if until is None else WaitReason.TIME, until)
        case TransferState.MISSED:
            return WaitingFor(WaitReason.COMMAND)
        case TransferState.FAILED:
            return Refused(moved.reason) if record.downloaded else None
        case TransferState.COMMITTED | TransferState.RUNNING | TransferState.CANCELLED:
            return None
        case _:
            assert_never(moved.new)


def apply(update: Update, event: UpdateEvent, now: Now) -> tuple[Update, tuple[Action, ...]]:
    """The update after the event, and what has to be done once it is written down.

    An equal update and no actions mean that the event changed nothing.
    """
    noted = _note(update, event, now)
    if isinstance(event, VersionObserved) and (event.image_type is None or event.image_type != update.image_type):
        return noted, ()
    for case in UPDATE.get((update.state, type(event)), ()):
        if case.when(update, event):
            return _take(update, noted, case, event, now)
    return noted, ()


def too_late(update: Update, order: UpdateEvent) -> str | None:
    """Why this update can be neither cancelled nor activated otherwise, None where it can: rule 7."""
    if update.state is S.ACTIVATING and not (update.unverified and isinstance(order, Cancelled)):
        at = update.activation_at
        done = "says that it has activated" if at is None else f"was told to activate at {isoformat(at)}"
        return f"the device {done}, and nothing calls it back"
    if update.state in ENDS:
        return f"the update has ended: {update.state.value}"
    return None


def _note(update: Update, event: UpdateEvent, now: Now) -> Update:
    """Write down what the event tells, apart from what follows from it."""
    match event:
        case VersionObserved() if update.active:
            return _note_version(update, event, now)
        case VersionObserved(file_version, image_type) if _proves_late(update, file_version, image_type):
            return replace(update, version_seen=file_version, doubt="")
        case ActivationReported(success, file_version) if _is_about(update, event, now):
            return replace(update, report=ActivationReport(success, file_version))
        case TransferEnded(outcome) if update.active and update.state is not S.ACCEPTED and update.transfer is None:
            return replace(update, transfer=outcome, download_ended=now.utc)
        case DownloadStarted() if update.active and update.download_started is None:
            return replace(update, download_started=now.utc)
        case WaitingFor(what, until) if (update.state, WaitingFor) in UPDATE:
            return replace(update, waiting_for=what, waiting_until=until)
        case ActivationOrdered(activation) if update.active and update.state is not S.ACTIVATING:
            return ordered(update, activation, now.utc)
        case ActivationGiven(at_utc) if (update.state, ActivationGiven) in UPDATE:
            # What was claimed before was not about this activation.
            return replace(update, activation_at=at_utc, report=None)
        case _:
            return update


def _note_version(update: Update, event: VersionObserved, now: Now) -> Update:
    """Rule 9. A device that does not tell what it runs now may run anything, whatever it told before."""
    ours = event.image_type is not None and event.image_type == update.image_type
    if ours and event.file_version is not None:
        known = update.version_before is not None or update.transfer is not None
        before = update.version_before if known else event.file_version
        return replace(update, version_seen=event.file_version, version_before=before, doubt="", successor=None)
    if ours:
        return replace(update, version_seen=None, doubt=event.doubt, successor=None)
    if event.image_type is not None:
        return replace(update, successor=event.image_type) if _succeeds(update, event, now) else update
    if event.file_version is None:
        return replace(update, version_seen=None, doubt=event.doubt)
    return replace(update, doubt=event.doubt) if update.version_seen is None else update


def _succeeds(update: Update, event: VersionObserved, now: Now) -> bool:
    """Rule 10: whether this can be the new firmware, under an image type of its own."""
    return event.first and event.file_version == update.file_version and _is_time(update, now)


def _is_time(update: Update, now: Now) -> bool:
    """The device was told to activate, and the moment has come."""
    return update.state is S.ACTIVATING and (update.activation_at is None or now.utc >= update.activation_at)


def _proves_late(update: Update, file_version: int | None, image_type: ImageType | None) -> bool:
    """A device that was given up turns out to run the new version after all: worth knowing, though the end stays."""
    return (
        update.state is S.FAILED
        and update.transfer is TransferOutcome.SUCCESS
        and (image_type, file_version) == (update.image_type, update.file_version)
    )


def _is_about(update: Update, event: ActivationReported, now: Now) -> bool:
    """Whether a CS09 can be about this update: devices resend old ones for a long time.

    A failure may name the version that runs rather than the one that did not come up (the field's meaning on failure
    could not be found), so that this one counts too, from the upgrade time on. Any other is about another update, or
    about another image of the device; success of that is only told to people.
    """
    if event.file_version == update.file_version:
        if update.active:
            return update.state in {S.DOWNLOADING, S.DOWNLOADED, S.WAITING, S.ACTIVATING}
        return update.report is None and update.transfer is TransferOutcome.SUCCESS
    if event.success:
        return update.report is None and _is_time(update, now)
    return event.file_version in (update.version_before, update.version_seen) and _is_time(update, now)


def _take(before: Update, noted: Update, case: Case, event: UpdateEvent, now: Now) -> tuple[Update, tuple[Action, ...]]:
    update = noted
    if update.transfer is None and case.settle is not None:
        update = replace(update, transfer=case.settle)
    if case.to is not before.state or case.reason is not reasons.none:
        update = replace(update, reason=case.reason(noted, event))
    if case.to is not before.state:
        update = replace(update, state=case.to, changed=now.utc, ended=now.utc if case.to in ENDS else None)
        if case.to is not S.WAITING:
            update = replace(update, waiting_for=None, waiting_until=None)
        if case.to is S.ACTIVATED:
            update = replace(update, version_seen=update.file_version)  # by rule 10 it was told of another type
        if case.to is S.ACTIVATING:
            # What it ran until now says nothing about what comes.
            update = replace(update, version_seen=None, doubt="")
    actions: list[Action] = []
    if before.transfer is None and update.transfer is not None:
        actions.append(RaiseTransferAlert(update, update.transfer))
    if case.withdraw:
        actions.append(Withdraw(update))
    if case.offer:
        actions.append(Offer(update))
    if case.read:
        appointment = update.activation_at if isinstance(event, ActivationGiven) else None
        until_then_s = 0.0 if appointment is None else max(0.0, appointment - now.utc)
        actions.append(ReadVersion(update, until_then_s + FIRST_READ_S))
    return update, tuple(actions)
