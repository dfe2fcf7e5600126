"""The one door of the updates' core: what goes in, and in which order what comes out."""

from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.image.image import ImageId
from chf.update import model
from chf.update.clients import CLASSES
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
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from chf.zcl.attributes import AttributeRecord, DataType, ReadAttributesResponse, Value
from chf.zcl.frame import Frame, FrameType, Status
from tests.support.ota_bench import ENDPOINT, HARDWARE, IDS, IMAGE_TYPE, MADE_FOR, MANUFACTURER, NEW, OLD, PPMID, image

T0 = 1_800_000_000.0
IMAGE = image(120)
POLICIES = SchedulePolicy(), OtaPolicy()


def new_update(number=1, activation=None, **changes):
    update = model.accept(
        number=model.UpdateId(number),
        device=PPMID,
        image=ImageId(IMAGE.sha256),
        image_type=MADE_FOR,
        file_version=NEW,
        activation=activation or model.ActivateNow(),
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
        self.machine.client_known(PPMID, CLASSES["silicon-labs"], self.now)
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


@pytest.mark.parametrize("version", [OLD, NEW, NEW + 1])
@pytest.mark.parametrize("code", [(MANUFACTURER, IMAGE_TYPE + 1), (MANUFACTURER + 1, IMAGE_TYPE)])
@pytest.mark.parametrize("state", ["announced", "downloading", "waiting", "activating"])
def test_what_a_device_runs_of_another_type_is_no_news_of_its_update(state, code, version):
    desk = Desk(model.ActivateHold() if state == "waiting" else None)
    if state != "announced":
        desk.query()
        desk.block(0)
    if state in ("waiting", "activating"):
        desk.downloaded()
        desk.end()
    assert desk.row.state == state
    before = desk.row
    effects = desk.hear(zcl.QueryNextImageRequest(*code, version, HARDWARE))
    assert only(VersionSeen, effects)
    assert replace(desk.row, successor=None) == before, "but for a type that the new firmware may go by"


@pytest.mark.parametrize("state", ["announced", "downloading", "activating"])
def test_a_version_that_is_not_known_concludes_nothing(state):
    desk = Desk()
    if state != "announced":
        desk.block(0)
    if state == "activating":
        desk.downloaded()
        desk.end()
        desk.handle(About(PPMID, model.ActivationReported(True, NEW)))
    read_back = ReadAttributesResponse(
        (AttributeRecord(zcl.CURRENT_FILE_VERSION, Value(DataType.UINT32, 0xFFFF_FFFF)),)
    )
    frame = Frame(FrameType.GLOBAL, ReadAttributesResponse.COMMAND, 1, read_back.to_bytes())
    effects = desk.handle(FrameReceived(PPMID, ENDPOINT, frame.to_bytes())) + desk.query(0xFFFF_FFFF)
    assert [seen.seen.file_version for seen in only(VersionSeen, effects)] == [None, None]
    assert (desk.row.state, desk.row.version_seen) == ("downloading" if state == "announced" else state, None)


def test_a_message_with_no_version_and_one_of_nobody_knows_which_image_conclude_nothing():
    desk = Desk().downloaded()
    desk.query()
    desk.end()
    desk.handle(About(PPMID, model.ActivationReported(True, NEW)))
    desk.handle(About(PPMID, model.VersionObserved(0xFFFF_FFFF, None)))
    assert (desk.row.state, desk.row.doubt) == ("activating", "it says that it runs 0xFFFFFFFF, which is no version")
    desk.machine.images_known(PPMID, ())
    desk.handle(About(PPMID, model.VersionObserved(NEW, None)))
    assert desk.row.doubt == "it does not say of which image its version is, and never asked for one"
    desk.query()
    assert desk.row.state is model.UpdateState.REVERTED


def test_only_a_query_for_its_image_or_for_a_new_one_tells_of_the_restart_of_an_activation():
    desk = Desk().downloaded()
    other = (MANUFACTURER, IMAGE_TYPE + 1)
    desk.hear(zcl.QueryNextImageRequest(*other, OLD))
    desk.end()
    asked = (other, (MANUFACTURER, IMAGE_TYPE + 2), (MANUFACTURER, IMAGE_TYPE))
    seen = [only(VersionSeen, desk.hear(zcl.QueryNextImageRequest(*each, OLD)))[0].activating for each in asked]
    assert seen == [False, True, True]


def test_a_device_that_goes_on_with_its_download_speaks_of_its_image():
    desk = Desk()
    desk.query()
    desk.block(0)
    read_back = bytes.fromhex("10 00 01 0200 00 23 02000000")
    desk.machine = UpdateMachine(*POLICIES)
    desk.machine.restore([(desk.row, IMAGE)], desk.now)
    effects = desk.handle(FrameReceived(PPMID, ENDPOINT, read_back))
    assert only(VersionSeen, effects)[0].seen.image_type == MADE_FOR


def test_an_update_begins_with_its_image_and_nothing_is_sent_before_the_row():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    effects = machine.handle(Accepted(update), now)
    assert kinds(effects) == [Persist, Happened, LoadImage] or kinds(effects) == [Persist, LoadImage, Happened]
    assert only(Persist, effects)[0].update.state is model.UpdateState.STORED
    assert only(LoadImage, effects) == [LoadImage(model.UpdateId(1), PPMID, update.image)]
    effects = machine.handle(ImageReady(update.id, IMAGE), now)
    (written,) = only(Persist, effects)
    assert effects[0] == written
    assert (written.update.state, written.update.record.state) == (
        model.UpdateState.ANNOUNCED,
        model.TransferState.OFFERED,
    )


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
    assert (written.update.state, written.update.record.state) == (
        model.UpdateState.ACTIVATING,
        model.TransferState.COMMITTED,
    )
    assert ended.event == model.TransferEnded(model.TransferOutcome.SUCCESS, "the device has the whole image", 3, 120)
    assert (ended.before.state, ended.update.state) == (model.UpdateState.DOWNLOADING, model.UpdateState.DOWNLOADED)
    assert alert.outcome is model.TransferOutcome.SUCCESS
    assert given.event == model.ActivationGiven(desk.now.utc)
    assert send.token is Token.COMMIT


def test_progress_keeps_the_place_and_is_told():
    desk = Desk()
    desk.query()
    effects = desk.block(0)
    assert only(Progress, effects) == [Progress(model.UpdateId(1), PPMID, 50, 120, 1)]


def test_the_version_of_the_query_reaches_update_and_device_log():
    desk = Desk().downloaded()
    desk.end()
    effects = desk.query(NEW)
    (seen,) = only(VersionSeen, effects)
    assert seen.seen == model.VersionObserved(NEW, MADE_FOR, hardware_version=HARDWARE, queried=True, first=True)
    assert seen.activating, "it was, before it said so"
    assert desk.row.state is model.UpdateState.ACTIVATED
    assert not only(VersionSeen, desk.query(NEW))[0].activating


def test_the_version_is_read_back_where_the_client_was_heard():
    desk = Desk().downloaded()
    desk.end()
    (send,) = only(Send, desk.due(2.0))
    frame = Frame.from_bytes(send.payload)
    assert (frame.frame_type, frame.command, send.endpoint) == (FrameType.GLOBAL, 0, ENDPOINT)


def test_the_deadline_is_the_nearest_of_update_and_transfer():
    desk = Desk(model.ActivateAt(UtcSeconds(T0 + 1000))).downloaded()
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
    record = replace(desk.row.record, state=model.TransferState.DOWNLOADING, endpoint=None)
    row = replace(desk.row, state=model.UpdateState.DOWNLOADING, record=record)
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
    assert effects == (VersionSeen(PPMID, model.VersionObserved(NEW, MADE_FOR)),)
    assert machine.handle(About(PPMID, model.DeviceRejoined()), Now(Instant(0.0), UtcSeconds(T0))) == ()


# Orders


def test_a_cancel_ends_update_and_transfer_in_one_row_with_one_alert():
    desk = Desk()
    desk.block(0)
    effects = desk.handle(About(PPMID, model.Cancelled()))
    assert [effect.outcome for effect in only(RaiseTransferAlert, effects)] == [model.TransferOutcome.IMAGE_DISCARDED]
    assert len(only(Persist, effects)) == 1
    assert (desk.row.state, desk.row.record.state) == (model.UpdateState.CANCELLED, model.TransferState.CANCELLED)
    assert [type(item.event) for item in only(Happened, effects)] == [model.Cancelled, model.TransferEnded], (
        "told, though it ended"
    )


def test_a_cancelled_device_that_activates_all_the_same_is_reported():
    desk = Desk(model.ActivateHold()).downloaded()
    desk.end()
    desk.handle(About(PPMID, model.Cancelled()))
    assert [alarm.kind for alarm in only(Alarm, desk.query(NEW))] == [AlarmKind.ACTIVATED_AFTER_CANCEL]
    assert desk.row.state is model.UpdateState.CANCELLED


def test_a_countdown_is_neither_cancelled_nor_moved():
    desk = Desk().downloaded()
    desk.end()
    for order in (model.Cancelled(), model.ActivationOrdered(model.ActivateHold())):
        with pytest.raises(RefusedError, match="nothing calls it back"):
            desk.handle(About(PPMID, order))


@pytest.mark.parametrize("order", [model.Cancelled(), model.ActivationOrdered(model.ActivateNow())])
def test_an_order_that_is_refused_leaves_the_transfer_as_it_was(order):
    """The device was held, and says that it has activated: what people are told is refused is not done."""
    desk = Desk(model.ActivateHold()).downloaded()
    desk.end()
    desk.handle(About(PPMID, model.ActivationReported(True, NEW)))
    with pytest.raises(RefusedError, match="says that it has activated, and nothing calls it back"):
        desk.handle(About(PPMID, order))
    assert [send.token for send in only(Send, desk.end())] == [Token.HOLD]
    assert (desk.row.state, desk.row.record.state) == (model.UpdateState.ACTIVATING, model.TransferState.HELD)


def test_an_activation_without_a_transfer_is_not_cancelled_either():
    desk = Desk()
    desk.machine = UpdateMachine(*POLICIES)
    activating = replace(desk.row, state=model.UpdateState.ACTIVATING, record=model.DamagedRecord("{", "cut short"))
    desk.machine.restore([(activating, None)], desk.now)
    with pytest.raises(RefusedError, match="nothing calls it back"):
        desk.handle(About(PPMID, model.Cancelled()))


def test_a_device_without_an_update_has_none_to_cancel():
    with pytest.raises(RefusedError, match="no update"):
        UpdateMachine(*POLICIES).handle(About(PPMID, model.Cancelled()), Now(Instant(0.0), UtcSeconds(T0)))


def test_another_activation_before_the_offer_holds_for_it():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, model.ActivationOrdered(model.ActivateHold())), now)
    effects = machine.handle(ImageReady(update.id, IMAGE), now)
    assert only(Persist, effects)[0].update.record.activation == model.ActivateHold()


def test_a_release_is_one_row_and_one_answer():
    desk = Desk(model.ActivateHold()).downloaded()
    desk.end()
    effects = desk.handle(About(PPMID, model.ActivationOrdered(model.ActivateNow())))
    assert kinds(effects) == [Persist, Happened, Happened, Send]
    assert (desk.row.activation, desk.row.state) == (model.ActivateNow(), model.UpdateState.ACTIVATING)


def test_an_update_that_is_refused_takes_its_offer_back():
    desk = Desk()
    desk.query()
    desk.handle(About(PPMID, model.Refused("replaced")))
    assert (desk.row.state, desk.row.record.state) == (model.UpdateState.FAILED, model.TransferState.CANCELLED)
    (answer,) = only(Send, desk.query())
    assert zcl.QueryNextImageResponse.from_bytes(answer.payload[3:]).status == Status.NO_IMAGE_AVAILABLE


def test_an_image_that_comes_after_the_end_is_not_offered():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, model.Cancelled()), now)
    assert machine.handle(ImageReady(update.id, IMAGE), now) == ()


def test_an_image_that_cannot_be_read_fails_its_own_update_alone():
    machine, update = UpdateMachine(*POLICIES), new_update()
    now = Now(Instant(0.0), UtcSeconds(T0))
    machine.handle(Accepted(update), now)
    machine.handle(About(PPMID, model.Cancelled()), now)
    machine.handle(Accepted(new_update(2)), now)
    assert machine.handle(ImageUnreadable(model.UpdateId(1), "altered"), now) == ()
    effects = machine.handle(ImageUnreadable(model.UpdateId(2), "altered"), now)
    (written,) = only(Persist, effects)
    assert (written.update.state, written.update.reason) == (model.UpdateState.FAILED, "altered")


@pytest.mark.parametrize(
    ("activation", "reason", "until"),
    [
        (model.ActivateAt(UtcSeconds(T0 + 90_000)), model.WaitReason.TIME, T0 + 90_000),
        (model.ActivateHold(model.Strategy.PARK), model.WaitReason.COMMAND, None),
    ],
)
def test_a_parked_update_says_what_it_waits_for(activation, reason, until):
    desk = Desk(activation).downloaded()
    assert (desk.row.state, desk.row.record.state) == (model.UpdateState.WAITING, model.TransferState.PARKED)
    assert (desk.row.waiting_for, desk.row.waiting_until) == (reason, until)


# A meter


def test_a_meter_activates_on_the_word_of_its_supplier_while_it_is_still_told_to_wait():
    desk = Desk(model.ActivateByCommand()).downloaded()
    desk.end()
    assert (desk.row.state, desk.row.waiting_until) == (model.UpdateState.WAITING, None)
    desk.handle(About(PPMID, model.ActivationGiven(desk.now.utc)))
    desk.handle(About(PPMID, model.ActivationReported(success=True, file_version=NEW)))
    assert (desk.row.state, desk.row.record.state) == (model.UpdateState.ACTIVATING, model.TransferState.HELD)
    (answer,) = only(Send, desk.end())
    assert zcl.UpgradeEndResponse.from_bytes(answer.payload[3:]).upgrade_time == zcl.WAIT_FOR_COMMAND


# Restart


def test_a_restart_goes_on_from_the_row_alone():
    desk = Desk(model.ActivateHold()).downloaded()
    desk.end()
    again = UpdateMachine(*POLICIES)
    effects = again.restore([(desk.row, IMAGE)], desk.now)
    (told,) = only(Send, effects)
    assert told.token is Token.HOLD
    assert again.for_device(PPMID) == desk.row
    assert not only(LoadImage, effects)


def test_what_a_cancelled_update_left_with_its_device_is_known_after_a_restart():
    desk = Desk(model.ActivateHold()).downloaded()
    desk.end()
    desk.handle(About(PPMID, model.Cancelled()))
    desk.machine = UpdateMachine(*POLICIES)
    desk.machine.restore([(desk.row, None)], desk.now)
    desk.handle(Accepted(new_update(number=2, activation=model.ActivateHold())))
    told = only(Alarm, desk.handle(ImageReady(model.UpdateId(2), IMAGE, ENDPOINT)))
    assert [alarm.kind for alarm in told] == [AlarmKind.HOLD_LIMIT, AlarmKind.HAS_IMAGE]


def test_an_offer_whose_record_is_lost_is_made_anew():
    desk = Desk()
    again = UpdateMachine(*POLICIES)
    effects = again.restore([(replace(desk.row, record=model.DamagedRecord("{", "cut short")), None)], desk.now)
    assert only(LoadImage, effects) == [LoadImage(desk.row.id, PPMID, desk.row.image)]


def test_what_could_not_be_written_is_undone():
    desk = Desk().downloaded()
    before = desk.row
    desk.machine.handle(FrameReceived(PPMID, ENDPOINT, zcl.command(zcl.UpgradeEndRequest(0, *IDS), 9)), desk.now)
    assert desk.machine.for_device(PPMID).state is model.UpdateState.ACTIVATING
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
