"""Being offered, announced and asked for: Image Notify, Query Next Image, versions, hardware, refusals."""

import pytest

from chf.errors import RefusedError
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.update import model
from chf.update.effects import AlarmKind, Progress, Send, TransferChanged, TransferMoved
from chf.update.transfer.policy import OtaPolicy
from chf.update.versions import MOST_IMAGE_TYPES
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from tests.support.ota_bench import (
    ENDPOINT,
    HARDWARE,
    IDS,
    IMAGE_TYPE,
    MADE_FOR,
    MANUFACTURER,
    NEW,
    OLD,
    PPMID,
    Bench,
    alarms,
    answer,
    block_response,
    default_response,
    image,
    only,
    query_response,
)


@pytest.fixture
def bench():
    return Bench()


# Image Notify


def test_an_offer_is_written_down_before_it_is_told(bench):
    effects = bench.offer()
    assert [type(effect) for effect in effects] == [TransferChanged, TransferMoved]
    assert bench.state is model.TransferState.OFFERED


def test_a_device_that_is_awake_is_notified_at_once_on_every_endpoint(bench):
    bench.offer()
    (send,) = only(Send, bench.run(0))
    assert send.endpoint == 0xFF
    assert zcl.ImageNotify.from_bytes(Frame.from_bytes(send.payload).payload) == zcl.ImageNotify(jitter=100)


def test_a_known_endpoint_is_notified_alone(bench):
    bench.offer(endpoint=7)
    (send,) = only(Send, bench.run(0))
    assert send.endpoint == 7


def test_a_device_that_does_not_come_is_notified_again_at_doubling_intervals(bench):
    bench.offer()
    times = []
    for _ in range(5):
        at = bench.server.deadline()
        assert at is not None
        times.append(at - 1000.0)
        bench.run(at - bench.instant)
    assert times == [0, 30, 90, 210, 450]


def test_a_device_that_was_heard_is_not_notified_for_a_while_whatever_it_said(bench):
    bench.offer()
    assert only(Send, bench.run(0))
    bench.run(29)
    bench.hear(zcl.QueryNextImageRequest(MANUFACTURER, IMAGE_TYPE + 1, OLD, HARDWARE))
    assert not only(Send, bench.run(29.9))
    assert only(Send, bench.run(0.2))


def test_a_sleepy_device_is_never_notified(bench):
    bench.offer(sleepy=True)
    assert bench.server.deadline() is None
    bench.query()
    assert not only(Send, bench.run(600))


def test_a_device_that_falls_silent_in_its_download_is_notified_again(bench):
    bench.offer()
    bench.query()
    bench.ask_block(0)
    sends = only(Send, bench.run(40))
    assert [Frame.from_bytes(send.payload).command for send in sends] == [zcl.ImageNotify.COMMAND]


def test_a_device_that_downloads_is_left_alone(bench):
    bench.offer(of=image(100_000))
    bench.query()
    for block in range(200):
        bench.ask_block(block * 50)
        assert not only(Send, bench.run(1))


# Query Next Image


def test_a_query_is_answered_with_the_image(bench):
    bench.offer()
    response = query_response(bench.query())
    assert response == zcl.QueryNextImageResponse(Status.SUCCESS, zcl.ImageFound(MANUFACTURER, IMAGE_TYPE, NEW, 1000))
    assert bench.state is model.TransferState.DOWNLOADING


def test_every_query_tells_the_version_that_the_device_runs(bench):
    bench.offer()
    assert only(model.VersionObserved, bench.query()) == [
        model.VersionObserved(OLD, MADE_FOR, hardware_version=HARDWARE, queried=True, first=True)
    ]


def test_a_device_without_an_offer_gets_no_image(bench):
    effects = bench.query()
    assert query_response(effects) == zcl.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
    assert only(model.VersionObserved, effects)


@pytest.mark.parametrize("ids", [(MANUFACTURER + 1, IMAGE_TYPE), (MANUFACTURER, IMAGE_TYPE + 1)])
def test_a_query_for_another_manufacturer_or_type_gets_no_image_and_ends_nothing(bench, ids):
    bench.offer()
    effects = bench.hear(zcl.QueryNextImageRequest(*ids, OLD, HARDWARE))
    assert query_response(effects).status == Status.NO_IMAGE_AVAILABLE
    assert bench.state is model.TransferState.OFFERED
    assert alarms(effects) == [AlarmKind.OTHER_IMAGE_WANTED]
    assert not alarms(bench.hear(zcl.QueryNextImageRequest(*ids, OLD, HARDWARE))), "told once"


@pytest.mark.parametrize(("hardware", "found"), [(0, False), (1, True), (2, True), (3, True), (4, False)])
def test_the_hardware_version_must_be_in_the_range(bench, hardware, found):
    bench.offer()
    effects = bench.query(hardware=hardware)
    assert (query_response(effects).status == Status.SUCCESS) is found
    ended = [effect.outcome for effect in only(model.TransferEnded, effects)]
    assert ended == ([] if found else [model.TransferOutcome.HARDWARE_VERSION_MISMATCH])
    assert bench.state is (model.TransferState.DOWNLOADING if found else model.TransferState.FAILED)


def test_an_image_for_every_hardware_is_for_every_hardware(bench):
    bench.offer(of=image(hardware_versions=None))
    assert query_response(bench.query(hardware=77)).status == Status.SUCCESS


def test_a_device_that_does_not_name_its_hardware_is_served_unless_the_policy_says_no(bench):
    bench.offer()
    assert query_response(bench.query(hardware=None)).status == Status.SUCCESS
    strict = Bench(OtaPolicy(serve_unknown_hardware=False))
    strict.offer()
    assert query_response(strict.query(hardware=None)).status == Status.NO_IMAGE_AVAILABLE
    assert strict.state is model.TransferState.OFFERED


def test_an_older_image_is_not_given_unless_allowed(bench):
    bench.offer()
    effects = bench.query(version=NEW + 1)
    assert query_response(effects).status == Status.NO_IMAGE_AVAILABLE
    (ended,) = only(model.TransferEnded, effects)
    assert ended.outcome is model.TransferOutcome.IMAGE_DISCARDED
    assert "newer" in ended.reason
    allowed = Bench()
    allowed.offer(allow_downgrade=True)
    assert query_response(allowed.query(version=NEW + 1)).status == Status.SUCCESS


def test_a_device_that_runs_the_version_already_gets_no_image(bench):
    bench.offer()
    effects = bench.query(version=NEW)
    assert query_response(effects).status == Status.NO_IMAGE_AVAILABLE
    assert bench.state is model.TransferState.RUNNING
    assert not alarms(effects)


def test_a_device_may_ask_again_in_its_download(bench):
    bench.offer()
    bench.query()
    bench.ask_block(0)
    assert query_response(bench.query()).status == Status.SUCCESS
    assert bench.state is model.TransferState.DOWNLOADING


# One update at a time


def test_a_second_offer_is_refused_while_the_first_is_under_way(bench):
    bench.offer()
    with pytest.raises(RefusedError, match="busy with update 1"):
        bench.offer(update=2)


def test_after_the_end_a_new_offer_is_taken_and_knows_the_endpoint(bench):
    bench.offer()
    bench.query(version=NEW)
    bench.offer(of=image(file_version=NEW + 1), update=2)
    assert bench.state is model.TransferState.OFFERED
    assert only(Send, bench.run(0))[0].endpoint == ENDPOINT


def test_a_forgotten_device_gets_no_image_and_wakes_nobody(bench):
    bench.offer()
    bench.server.forget(PPMID)
    bench.server.forget(PPMID)
    assert bench.server.deadline() is None
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE


def test_the_update_of_a_device_without_one_cannot_be_cancelled(bench):
    with pytest.raises(RefusedError, match="no update"):
        bench.server.cancel(PPMID, bench.now)


# Frames that are not what they should be


def test_octets_without_a_header_are_dropped(bench):
    bench.offer()
    assert bench.hear_octets(b"\x01") == ()


@pytest.mark.parametrize(
    "octets",
    ["01 01 01 00", "01 01 03 00 d810 0400", "01 01 04", "01 01 06 00", "01 01 08", "01 01 01 01 d810 0400 01000000"],
)
def test_a_short_command_is_told_to_be_malformed_and_changes_nothing(bench, octets):
    bench.offer()
    effects = bench.hear_octets(bytes.fromhex(octets))
    response = default_response(effects)
    assert response == DefaultResponse(bytes.fromhex(octets)[2], Status.MALFORMED_COMMAND)
    assert bench.state is model.TransferState.OFFERED


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (Frame(FrameType.CLUSTER, 0x55, 1), Status.UNSUP_CLUSTER_COMMAND),
        (Frame(FrameType.CLUSTER, 0x03, 1, manufacturer_code=0x1234), Status.UNSUP_MANUF_CLUSTER_COMMAND),
        (Frame(FrameType.GLOBAL, 0x02, 1), Status.UNSUP_GENERAL_COMMAND),
        (Frame(FrameType.GLOBAL, 0x01, 1, manufacturer_code=0x1234), Status.UNSUP_MANUF_GENERAL_COMMAND),
        (Frame(FrameType.GLOBAL, 0x00, 1, b"\x00\x00", to_client=True), Status.UNSUP_GENERAL_COMMAND),
        (Frame(FrameType.GLOBAL, 0x01, 1, b"\x02"), Status.MALFORMED_COMMAND),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_in_the_words_of_the_standard(bench, frame, status):
    assert default_response(bench.hear_octets(frame.to_bytes())).status == status


def test_a_server_heard_where_a_device_should_be_is_reported_once_in_a_while(bench):
    octets = zcl.command(zcl.ImageNotify(), 1)
    effects = bench.hear_octets(octets)
    assert alarms(effects) == [AlarmKind.SECOND_SERVER]
    assert default_response(effects).status == Status.UNSUP_CLUSTER_COMMAND
    assert alarms(bench.hear_octets(octets)) == []
    bench.advance(61)
    assert alarms(bench.hear_octets(octets)) == [AlarmKind.SECOND_SERVER]


def test_the_server_has_no_attributes(bench):
    effects = bench.hear_octets(bytes.fromhex("00 05 00 0000"))
    assert answer(effects).payload.hex() == "000086"


def test_a_device_specific_file_is_refused(bench):
    bench.offer()
    effects = bench.hear(zcl.QueryDeviceSpecificFileRequest(PPMID, MANUFACTURER, 0xFFC0, 1, 2))
    frame = answer(effects)
    assert (frame.command, frame.payload) == (0x09, bytes((Status.NO_IMAGE_AVAILABLE,)))


def test_a_default_response_is_never_answered(bench):
    bench.offer()
    octets = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, 1, DefaultResponse(2, 0x85).to_bytes()).to_bytes()
    assert bench.hear_octets(octets) == ()


def test_a_device_cannot_read_the_image_of_another(bench):
    bench.offer()
    effects = bench.hear(zcl.ImageBlockRequest(*IDS, 0, 50), peer=Eui64(1))
    assert block_response(effects) == zcl.BlockRefused(Status.ABORT)


# The version that a device runs


def test_the_version_is_asked_for_and_read_back(bench):
    send = bench.server.ask_version(PPMID, ENDPOINT)
    frame = Frame.from_bytes(send.payload)
    assert (frame.frame_type, frame.command, frame.payload) == (FrameType.GLOBAL, 0x00, bytes.fromhex("020007000800"))
    assert frame.to_client
    bench.query()
    reply = bytes.fromhex("18 00 01 0200 00 23 02000000")
    reply = bytes((0x10,)) + reply[1:]
    assert only(model.VersionObserved, bench.hear_octets(reply)) == [model.VersionObserved(NEW, MADE_FOR)]


def test_a_version_that_is_read_back_ends_the_session(bench):
    bench.offer()
    bench.query()
    bench.served()
    bench.end()
    bench.hear_octets(bytes.fromhex("10 00 01 0200 00 23 02000000"))
    assert bench.state is model.TransferState.RUNNING


def test_a_reported_version_counts_as_well_and_is_acknowledged(bench):
    bench.query()
    effects = bench.hear_octets(bytes.fromhex("00 05 0a 0200 23 02000000"))
    assert only(model.VersionObserved, effects) == [model.VersionObserved(NEW, MADE_FOR)]
    assert default_response(effects) == DefaultResponse(0x0A, Status.SUCCESS)


@pytest.mark.parametrize(
    ("records", "doubt"),
    [
        ("0200 86", "its version cannot be read: UNSUPPORTED_ATTRIBUTE (0x86)"),
        ("0200 00 42 01 41", "its version reads as CHARACTER_STRING, which no file version is"),
        ("0200 00 21 0200", "its version reads as UINT16, which no file version is"),
        ("0200 00 23 ffffffff", "its version reads 0xFFFFFFFF, which is no version"),
    ],
)
@pytest.mark.parametrize("known", ["", "0700 00 21 d810 0800 00 21 0400"])
def test_attributes_that_are_no_version_tell_none(bench, records, doubt, known):
    bench.offer()
    bench.query()
    effects = bench.hear_octets(bytes.fromhex("10 00 01" + known + records))
    assert effects == (model.VersionObserved(None, MADE_FOR, doubt),)
    assert bench.hear_octets(bytes.fromhex("10 00 01 0600 00 30 01")) == ()


@pytest.mark.parametrize(
    ("beside", "spoken_of", "found"),
    [
        ("", [4], 4),
        ("", [], None),
        ("", [4, 5], None),
        ("0700 00 21 d810 0800 00 21 0500", [4], 5),
        ("0700 00 21 d810 0800 00 21 0500", [], 5),
        ("0700 00 21 ffff 0800 00 21 ffff", [4], 4),
        ("0700 86 0800 86", [4], 4),
        ("0700 86 0800 86", [4, 5], None),
        ("0700 00 21 d810 0800 00 21 ffff", [4, 5], None),
        ("0700 00 21 d810 0800 00 21 ffff", [4], 4),
        ("0700 00 21 d910 0800 00 21 ffff", [4], None),
        ("0700 86 0800 00 21 0500", [4, 5], 5),
        ("0700 00 21 d810", [4, (0x10D9, 5)], None),  # who has two manufacturers' images has two of this one's, perhaps
        ("0700 86 0800 00 21 0400", [4, (0x10D9, 4)], None),
        ("0700 86 0800 00 21 0600", [4, 5], None),
        ("0700 86 0800 00 21 0500", [4], None),
        ("0700 00 23 d8100000 0800 00 20 05", [4], 4),
    ],
)
def test_a_version_is_read_of_the_type_that_is_named_beside_it_or_of_the_only_one(bench, beside, spoken_of, found):
    bench.offer()
    for each in spoken_of:
        image_type = each if isinstance(each, tuple) else (MANUFACTURER, each)
        bench.hear(zcl.QueryNextImageRequest(*image_type, OLD, HARDWARE))
    bench.hear_octets(bytes.fromhex("10 00 01 0200 00 23 02000000" + beside))
    told = only(model.VersionObserved, bench.history)[-1]
    assert (told.file_version, told.image_type) == (NEW, None if found is None else ImageType(MANUFACTURER, found))
    assert (told.doubt == "") is (found is not None)
    assert (bench.state is model.TransferState.RUNNING) is (found == IMAGE_TYPE)


def test_a_device_that_makes_image_types_up_fills_no_memory(bench):
    for number in range(100):
        bench.hear(zcl.QueryNextImageRequest(MANUFACTURER, number, OLD))
    told = only(model.VersionObserved, bench.history)
    assert [each.first for each in told] == [True] * MOST_IMAGE_TYPES + [False] * (100 - MOST_IMAGE_TYPES)


# Words


def test_an_activation_time_in_the_past_means_now_and_says_so(bench):
    effects = bench.offer(model.ActivateAt(bench.now.utc))
    assert alarms(effects) == [AlarmKind.PASSED]
    assert bench.record().activation == model.ActivateNow()


def test_progress_is_told_a_few_times_a_second_and_at_the_end(bench):
    bench.offer(of=image(10_000))
    bench.served()  # 200 blocks in two seconds
    offsets = [effect.offset_bytes for effect in only(Progress, tuple(bench.history))]
    assert 6 <= len(offsets) <= 11
    assert offsets[-1] == 10_000


def test_a_download_is_written_down_every_few_seconds_and_never_per_block(bench):
    bench.offer(of=image(100_000))
    bench.query()
    before = len(only(TransferChanged, tuple(bench.history)))
    bench.download()  # 2000 blocks in twenty seconds
    assert 3 <= len(only(TransferChanged, tuple(bench.history))) - before <= 5


def test_a_meter_is_offered_like_the_others(bench):
    bench.offer(model.ActivateByCommand())
    assert query_response(bench.query()).status == Status.SUCCESS
