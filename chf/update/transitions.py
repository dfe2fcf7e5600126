"""What may become of an update job: one table, and the function that applies it.

The rules, before the table:

1.  An end is final. What comes later changes neither state nor reason.
2.  What the table does not name changes nothing: late, early and repeated events are harmless.
3.  *activated* only after the device itself told that it runs the new version. Neither an Upgrade End nor a success
    alert is proof; a device that runs the new version before anybody told it to has activated by itself, and that is
    *activated* too, with the reason saying so.
4.  *reverted* only after the device claimed success (CS09 for this version) and, asked afterwards, told another
    version.
5.  A CS09 never ends a job: it asks for a fresh read-back, and the read-back ends it. So it makes no difference which
    of the two comes first. An old version that was told before the CS09 proves nothing: the device had yet to reboot.
6.  *failed* is the rest, always with a reason.
7.  Until a real upgrade time was given to the device, a job can be cancelled and can expire. After that it cannot: the
    device counts down by itself (facts of deployed clients), and only the read-back tells what became of it.
8.  Every job that ends has told the outcome of its transfer upward in one CCS08, also if it never began one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from chf.clock import Now
from chf.update import reasons
from chf.update.model import (
    ENDS,
    Action,
    ActivationGiven,
    ActivationOrdered,
    ActivationReport,
    ActivationReported,
    Announced,
    Cancelled,
    CancelOffer,
    DeadlinePassed,
    DeviceRejoined,
    DownloadStarted,
    Offer,
    RaiseCcs08,
    ReadVersion,
    Refused,
    Stored,
    TransferEnded,
    TransferOutcome,
    Update,
    UpdateEvent,
    UpdateState,
    VerificationTimedOut,
    VersionObserved,
    WaitingFor,
)

S = UpdateState

FIRST_READ_S: Final = 2.0
"""From the upgrade time, a rejoin or a CS09 to the first read-back (our choice): a booting device answers little."""


Guard: TypeAlias = Callable[[Update, UpdateEvent], bool]
"""A condition on the job as it was and the event that came."""


def always(_job: Update, _event: UpdateEvent) -> bool:
    return True


def runs_target(job: Update, event: UpdateEvent) -> bool:
    return isinstance(event, VersionObserved) and event.file_version == job.file_version


def ended_well(_job: Update, event: UpdateEvent) -> bool:
    return isinstance(event, TransferEnded) and event.outcome is TransferOutcome.SUCCESS


def ended_well_again(job: Update, event: UpdateEvent) -> bool:
    return transferred(job, event) and ended_well(job, event)


def transferred(job: Update, _event: UpdateEvent) -> bool:
    return job.transfer is TransferOutcome.SUCCESS


def not_transferred(job: Update, _event: UpdateEvent) -> bool:
    return job.transfer is None


def reports_transferred(job: Update, event: UpdateEvent) -> bool:
    """A device that has the whole image reports on this very version: it has tried, told to or not."""
    return transferred(job, event) and isinstance(event, ActivationReported) and event.file_version == job.file_version


def claimed_success(job: Update, _event: UpdateEvent) -> bool:
    return job.report is not None and job.report.success and job.report.file_version == job.file_version


def claimed_failure(job: Update, _event: UpdateEvent) -> bool:
    return job.report is not None and not job.report.success


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

TRANSITIONS: Final[Mapping[Cell, tuple[Case, ...]]] = MappingProxyType(
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
            Case(S.REVERTED, when=claimed_success, reason=reasons.reverted, withdraw=True),
            Case(S.FAILED, when=claimed_failure, reason=reasons.reported_failure, withdraw=True),
        ),
        (S.ACTIVATING, VerificationTimedOut): (Case(S.FAILED, reason=reasons.unverified, withdraw=True),),
    }
)


def apply(job: Update, event: UpdateEvent, now: Now) -> tuple[Update, tuple[Action, ...]]:
    """The job after the event, and what has to be done once it is written down.

    An equal job and no actions mean that the event changed nothing.
    """
    noted = _note(job, event, now)
    for case in TRANSITIONS.get((job.state, type(event)), ()):
        if case.when(job, event):
            return _take(job, noted, case, event, now)
    return noted, ()


def cancel_refusal(job: Update) -> str | None:
    """Why this job cannot be cancelled, None where it can: rule 7."""
    if job.state is S.ACTIVATING:
        return "the device was told when to activate, and cannot be called back"
    if job.state in ENDS:
        return f"the update has ended: {job.state.value}"
    return None


def _note(job: Update, event: UpdateEvent, now: Now) -> Update:
    """Write down what the event tells, apart from what follows from it."""
    match event:
        case VersionObserved(file_version) if job.active:
            before = file_version if job.version_before is None and job.transfer is None else job.version_before
            return replace(job, version_seen=file_version, version_before=before)
        case VersionObserved(file_version) if _proves_late(job, file_version):
            return replace(job, version_seen=file_version)
        case ActivationReported(success, file_version) if _is_about(job, event, now):
            return replace(job, report=ActivationReport(success, file_version))
        case TransferEnded(outcome) if job.active and job.state is not S.ACCEPTED and job.transfer is None:
            return replace(job, transfer=outcome, download_ended=now.utc)
        case DownloadStarted() if job.active and job.download_started is None:
            return replace(job, download_started=now.utc)
        case WaitingFor(what, until) if (job.state, WaitingFor) in TRANSITIONS:
            return replace(job, waiting_for=what, waiting_until=until)
        case ActivationOrdered(activation) if job.active and job.state is not S.ACTIVATING:
            return replace(job, activation=activation)
        case ActivationGiven(at_utc) if (job.state, ActivationGiven) in TRANSITIONS:
            # What was claimed before was not about this activation.
            return replace(job, activation_at=at_utc, report=None)
        case _:
            return job


def _proves_late(job: Update, file_version: int) -> bool:
    """A device that was given up turns out to run the new version after all: worth knowing, though the end stays."""
    return job.state is S.FAILED and job.transfer is TransferOutcome.SUCCESS and file_version == job.file_version


def _is_about(job: Update, event: ActivationReported, now: Now) -> bool:
    """Whether a CS09 can be about this job: devices resend old ones for a long time.

    A failure may name the version that runs rather than the one that did not come up (the field's meaning on failure
    could not be found), so that other versions count too, from the upgrade time on.
    """
    if event.file_version == job.file_version:
        if job.active:
            return job.state in {S.DOWNLOADING, S.DOWNLOADED, S.WAITING, S.ACTIVATING}
        return job.report is None and job.transfer is TransferOutcome.SUCCESS
    return job.state is S.ACTIVATING and (job.activation_at is None or now.utc >= job.activation_at)


def _take(before: Update, noted: Update, case: Case, event: UpdateEvent, now: Now) -> tuple[Update, tuple[Action, ...]]:
    job = noted
    if job.transfer is None and case.settle is not None:
        job = replace(job, transfer=case.settle)
    if case.to is not before.state:
        job = replace(
            job,
            state=case.to,
            reason=case.reason(noted, event),
            changed=now.utc,
            ended=now.utc if case.to in ENDS else None,
        )
        if case.to is not S.WAITING:
            job = replace(job, waiting_for=None, waiting_until=None)
        if case.to is S.ACTIVATING:
            job = replace(job, version_seen=None)  # what it ran until now says nothing about what comes
    actions: list[Action] = []
    if before.transfer is None and job.transfer is not None:
        actions.append(RaiseCcs08(job, job.transfer))
    if case.withdraw:
        actions.append(CancelOffer(job))
    if case.offer:
        actions.append(Offer(job))
    if case.read:
        appointment = job.activation_at if isinstance(event, ActivationGiven) else None
        until_then_s = 0.0 if appointment is None else max(0.0, appointment - now.utc)
        actions.append(ReadVersion(job, until_then_s + FIRST_READ_S))
    return job, tuple(actions)
