"""The one door of the updates' core: what goes in, and in which order what comes out."""

from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.image.image import ImageId
from chf.update.effects import (
    Alarm,
    AlarmKind,
    Happened,
    LoadImage,
    Persist,
    Progress,
    RaiseTransferAlert,
    Send,
    Token,
    VersionSeen,
)
from chf.update.machine import About, Accepted, Delivered, FrameReceived, ImageReady, ImageUnreadable, UpdateMachine
from chf.update.model import (
    ActivateAt,
    ActivateByCommand,
    ActivateHold,
    ActivateNow,
    ActivationGiven,
    ActivationOrdered,
    ActivationReported,
    Cancelled,
    DamagedRecord,
    DeviceRejoined,
    Refused,
    TransferEnded,
    TransferOutcome,
    TransferState,
    UpdateId,
    UpdateState,
    VersionObserved,
    accept,
)
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, FrameType, Status
from tests.support.ota_bench import ENDPOINT, HARDWARE, IDS, IMAGE_TYPE, MANUFACTURER, NEW, OLD, PPMID, image

T0 = 1_800_000_000.0
IMAGE = image(120)
POLICIES = SchedulePolicy(), OtaPolicy()


def new_update(number=1, activation=None, **changes):
    update = accept(
        number=UpdateId(number),
        device=PPMID,
        image=ImageId(IMAGE.sha256),
        file_version=NEW,
        activation=activation or ActivateNow(),
        origin="cli",
        version_before=OLD,
        now_utc=UtcSeconds(T0),
        lifetime_s=86400.0,
    )
    return replace(update, **changes)


class Desk:
    """A machine, and the row that was written last."""

    def __init__(self, activation=None):
        self.machine, self.seconds, self.sequence = UpdateMachine(*POLICIES), 0.0, 0
        self.row = new_update(activation=activation)
        self.handle(Accepted(self.row))
        self.handle(ImageReady(self.row.id, IMAGE, ENDPOINT))

    @property
    def now(self):
        return Now(Instant(self.seconds), UtcSeconds(T0 + self.seconds))

    def handle(self, event):
        return self.keep(self.machine.handle(event, self.now))

    def keep(self, effects):
        for effect in effects:
            if isinstance(effect, Persist):
                self.row = effect.update
        return effects

    def hear(self, body):
        self.sequence += 1
        self.seconds += 1
        return self.handle(FrameReceived(PPMID, ENDPOINT, zcl.command(body, self.sequence)))

    def query(self, version=OLD):
        return self.hear(zcl.QueryNextImageRequest(MANUFACTURER, IMAGE_TYPE, version, HARDWARE))

    def block(self, offset):
        return self.hear(zcl.ImageBlockRequest(*IDS, offset, 50))

    def end(self):
        return self.hear(zcl.UpgradeEndRequest(0, *IDS))

    def downloaded(self):
        for offset in (0, 50, 100):
            self.block(offset)
        return self

    def due(self, seconds):
        self.seconds += seconds
        return self.keep(self.machine.handle_deadline(self.now))


def kinds(effects):
    return [type(effect) for effect in effects]


def only(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def test_an_update_begins_with_its_image_and_nothing_is_sent_before_the_row():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    effects = machine.handle(Accepted(update), now)
    assert kinds(effects) == [Persist, Happened, LoadImage] or kinds(effects) == [Persist, LoadImage, Happened]
    assert only(Persist, effects)[0].update.state is UpdateState.STORED
    assert only(LoadImage, effects) == [LoadImage(UpdateId(1), PPMID, update.image)]
    effects = machine.handle(ImageReady(update.id, IMAGE), now)
    (written,) = only(Persist, effects)
    assert effects[0] == written
    assert (written.update.state, written.update.record.state) == (UpdateState.ANNOUNCED, TransferState.OFFERED)


def test_a_block_is_one_message_and_nothing_else():
    desk = Desk()
    desk.block(0)
    desk.seconds -= 1.0  # at once: a moment later progress is told as well
    (send,) = desk.block(50)
    assert (type(send), send.token) == (Send, Token.BLOCK)


def test_an_upgrade_end_is_one_row_one_alert_and_one_answer_in_this_order():
    desk = Desk().downloaded()
    effects = desk.end()
    assert kinds(effects) == [Persist, Happened, RaiseTransferAlert, Happened, Send]
    written, ended, alert, given, send = effects
    assert (written.update.state, written.update.record.state) == (UpdateState.ACTIVATING, TransferState.COMMITTED)
    assert ended.event == TransferEnded(TransferOutcome.SUCCESS, "the device has the whole image", 3, 120)
    assert (ended.before.state, ended.update.state) == (UpdateState.DOWNLOADING, UpdateState.DOWNLOADED)
    assert alert.outcome is TransferOutcome.SUCCESS
    assert given.event == ActivationGiven(desk.now.utc)
    assert send.token is Token.COMMIT


def test_progress_keeps_the_place_and_is_told():
    desk = Desk()
    desk.query()
    effects = desk.block(0)
    assert only(Progress, effects) == [Progress(UpdateId(1), PPMID, 50, 120, 1)]


def test_the_version_of_the_query_reaches_update_and_device_log():
    desk = Desk().downloaded()
    desk.end()
    effects = desk.query(NEW)
    (seen,) = only(VersionSeen, effects)
    assert seen.seen == VersionObserved(NEW, MANUFACTURER, IMAGE_TYPE, HARDWARE)
    assert seen.activating, "it was, before it said so"
    assert desk.row.state is UpdateState.ACTIVATED
    assert not only(VersionSeen, desk.query(NEW))[0].activating


def test_the_version_is_read_back_where_the_client_was_heard():
    desk = Desk().downloaded()
    desk.end()
    (send,) = only(Send, desk.due(2.0))
    frame = Frame.from_bytes(send.payload)
    assert (frame.frame_type, frame.command, send.endpoint) == (FrameType.GLOBAL, 0, ENDPOINT)


def test_the_deadline_is_the_nearest_of_update_and_transfer():
    desk = Desk(ActivateAt(UtcSeconds(T0 + 1000))).downloaded()
    desk.end()
    desk.seconds = desk.machine.deadline()
    assert only(Send, desk.due(0)) == [], "the transfer looks at the clock"
    assert desk.seconds < 100
    desk.seconds = 1001.9
    desk.due(0)
    assert desk.machine.deadline() == 1002.0, "the update reads the version back"


@pytest.mark.parametrize("image_is_there", [True, False])
def test_a_version_is_not_read_where_nobody_knows_the_client(image_is_there):
    desk = Desk()
    record = replace(desk.row.record, state=TransferState.DOWNLOADING, endpoint=None)
    row = replace(desk.row, state=UpdateState.DOWNLOADING, record=record)
    machine = UpdateMachine(*POLICIES)
    machine.restore([(row, IMAGE if image_is_there else None)], desk.now)
    due = Now(Instant(2.0), UtcSeconds(T0 + 2))
    reads = [send for send in only(Send, machine.handle_deadline(due)) if send.token is Token.ANSWER]
    assert reads == []


def test_what_a_device_without_an_update_says_is_answered_and_seen():
    machine = UpdateMachine(*POLICIES)
    octets = zcl.command(zcl.QueryNextImageRequest(MANUFACTURER, IMAGE_TYPE, OLD, HARDWARE), 1)
    effects = machine.handle(FrameReceived(PPMID, ENDPOINT, octets), Now(Instant(0.0), UtcSeconds(T0)))
    assert kinds(effects) == [VersionSeen, Send]
    read_back = bytes.fromhex("10 00 01 0200 00 23 02000000")
    effects = machine.handle(FrameReceived(PPMID, ENDPOINT, read_back), Now(Instant(0.0), UtcSeconds(T0)))
    assert effects == (VersionSeen(PPMID, VersionObserved(NEW)),)
    assert machine.handle(About(PPMID, DeviceRejoined()), Now(Instant(0.0), UtcSeconds(T0))) == ()


# Orders


def test_a_cancel_ends_update_and_transfer_in_one_row_with_one_alert():
    desk = Desk()
    desk.block(0)
    effects = desk.handle(About(PPMID, Cancelled()))
    assert [effect.outcome for effect in only(RaiseTransferAlert, effects)] == [TransferOutcome.IMAGE_DISCARDED]
    assert len(only(Persist, effects)) == 1
    assert (desk.row.state, desk.row.record.state) == (UpdateState.CANCELLED, TransferState.CANCELLED)
    assert [type(item.event) for item in only(Happened, effects)] == [Cancelled, TransferEnded], "told, though it ended"


def test_a_cancelled_device_that_activates_all_the_same_is_reported():
    desk = Desk(ActivateHold()).downloaded()
    desk.end()
    desk.handle(About(PPMID, Cancelled()))
    assert [alarm.kind for alarm in only(Alarm, desk.query(NEW))] == [AlarmKind.ACTIVATED_AFTER_CANCEL]
    assert desk.row.state is UpdateState.CANCELLED


def test_a_countdown_is_neither_cancelled_nor_moved():
    desk = Desk().downloaded()
    desk.end()
    for order in (Cancelled(), ActivationOrdered(ActivateHold())):
        with pytest.raises(RefusedError, match="nothing calls it back"):
            desk.handle(About(PPMID, order))


def test_an_activation_without_a_transfer_is_not_cancelled_either():
    desk = Desk()
    desk.machine = UpdateMachine(*POLICIES)
    activating = replace(desk.row, state=UpdateState.ACTIVATING, record=DamagedRecord("{", "cut short"))
    desk.machine.restore([(activating, None)], desk.now)
    with pytest.raises(RefusedError, match="cannot be called back"):
        desk.handle(About(PPMID, Cancelled()))


def test_a_device_without_an_update_has_none_to_cancel():
    with pytest.raises(RefusedError, match="no update"):
        UpdateMachine(*POLICIES).handle(About(PPMID, Cancelled()), Now(Instant(0.0), UtcSeconds(T0)))


def test_another_activation_before_the_offer_holds_for_it():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, ActivationOrdered(ActivateHold())), now)
    effects = machine.handle(ImageReady(update.id, IMAGE), now)
    assert only(Persist, effects)[0].update.record.activation == ActivateHold()


def test_a_release_is_one_row_and_one_answer():
    desk = Desk(ActivateHold()).downloaded()
    desk.end()
    effects = desk.handle(About(PPMID, ActivationOrdered(ActivateNow())))
    assert kinds(effects) == [Persist, Happened, Happened, Send]
    assert (desk.row.activation, desk.row.state) == (ActivateNow(), UpdateState.ACTIVATING)


def test_an_update_that_is_refused_takes_its_offer_back():
    desk = Desk()
    desk.query()
    desk.handle(About(PPMID, Refused("replaced")))
    assert (desk.row.state, desk.row.record.state) == (UpdateState.FAILED, TransferState.CANCELLED)
    (answer,) = only(Send, desk.query())
    assert zcl.QueryNextImageResponse.from_bytes(answer.payload[3:]).status == Status.NO_IMAGE_AVAILABLE


def test_an_image_that_comes_after_the_end_is_not_offered():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, Cancelled()), now)
    assert machine.handle(ImageReady(update.id, IMAGE), now) == ()


def test_an_image_that_cannot_be_read_fails_its_own_update_alone():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, Cancelled()), now)
    machine.handle(Accepted(new_update(2)), now)
    assert machine.handle(ImageUnreadable(UpdateId(1), "altered"), now) == ()
    effects = machine.handle(ImageUnreadable(UpdateId(2), "altered"), now)
    (written,) = only(Persist, effects)
    assert (written.update.state, written.update.reason) == (UpdateState.FAILED, "altered")


# A meter


def test_a_meter_activates_on_the_word_of_its_supplier_while_it_is_still_told_to_wait():
    desk = Desk(ActivateByCommand()).downloaded()
    desk.end()
    assert (desk.row.state, desk.row.waiting_until) == (UpdateState.WAITING, None)
    desk.handle(About(PPMID, ActivationGiven(desk.now.utc)))
    desk.handle(About(PPMID, ActivationReported(success=True, file_version=NEW)))
    assert (desk.row.state, desk.row.record.state) == (UpdateState.ACTIVATING, TransferState.HELD)
    (answer,) = only(Send, desk.end())
    assert zcl.UpgradeEndResponse.from_bytes(answer.payload[3:]).upgrade_time == zcl.WAIT_FOR_COMMAND


# Restart


def test_a_restart_goes_on_from_the_row_alone():
    desk = Desk(ActivateHold()).downloaded()
    desk.end()
    again = UpdateMachine(*POLICIES)
    effects = again.restore([(desk.row, IMAGE)], desk.now)
    (told,) = only(Send, effects)
    assert told.token is Token.HOLD
    assert again.for_device(PPMID) == desk.row
    assert not only(LoadImage, effects)


def test_an_offer_whose_record_is_lost_is_made_anew():
    desk = Desk()
    again = UpdateMachine(*POLICIES)
    effects = again.restore([(replace(desk.row, record=DamagedRecord("{", "cut short")), None)], desk.now)
    assert only(LoadImage, effects) == [LoadImage(desk.row.id, PPMID, desk.row.image)]


def test_what_could_not_be_written_is_undone():
    desk = Desk().downloaded()
    before = desk.row
    desk.machine.handle(FrameReceived(PPMID, ENDPOINT, zcl.command(zcl.UpgradeEndRequest(0, *IDS), 9)), desk.now)
    assert desk.machine.for_device(PPMID).state is UpdateState.ACTIVATING
    desk.machine.begin_again(PPMID, before, desk.now)
    assert desk.machine.for_device(PPMID) == before
    (send,) = only(Send, desk.end())
    assert send.token is Token.COMMIT
    desk.machine.begin_again(PPMID, None, desk.now)
    assert desk.machine.for_device(PPMID) is None
    assert desk.machine.deadline() is None


def test_the_fate_of_a_message_to_a_device_without_a_transfer_is_nothing():
    now = Now(Instant(0.0), UtcSeconds(T0))
    assert UpdateMachine(*POLICIES).handle(Delivered(PPMID, Token.BLOCK, True), now) == ()
