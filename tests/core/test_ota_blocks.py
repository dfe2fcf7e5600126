"""Blocks and pages: which bytes, how many, how fast, and what is refused."""

from dataclasses import replace

import pytest

from chf.update.effects import AlarmKind, Progress, Send, Token, Urgency
from chf.update.model import TransferEnded, TransferOutcome, TransferState
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.session import Coverage
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, Status
from tests.support.ota_bench import (
    ENDPOINT,
    IDS,
    IMAGE_TYPE,
    MANUFACTURER,
    NEW,
    PPMID,
    Bench,
    alarms,
    block_response,
    blocks,
    default_response,
    image,
    only,
)


@pytest.fixture
def bench():
    bench = Bench()
    bench.offer()
    bench.query()
    return bench


@pytest.mark.parametrize("size", [1, 12, 32, 40, 48, 50, 56])
def test_a_download_in_blocks_of_any_size_is_byte_exact(bench, size):
    assert bench.download(size=size) == image().content
    assert bench.state is TransferState.SERVED


SIZES = [(1, 1), (50, 50), (56, 56), (63, 56), (64, 56), (124, 56), (125, 125), (195, 125), (196, 196), (255, 196)]


@pytest.mark.parametrize(("asked", "given"), SIZES)
def test_a_block_is_what_was_asked_for_up_to_what_fills_a_frame_or_whole_fragments(bench, asked, given):
    response = block_response(bench.ask_block(0, asked))
    assert response == zcl.ImageBlock(*IDS, 0, image().content[:given])


def test_the_frame_budget_is_a_setting():
    bench = Bench(OtaPolicy(block_bytes=48, fragmented_blocks=False))
    bench.offer()
    assert len(block_response(bench.ask_block(0, 255)).data) == 48


@pytest.mark.parametrize("offset", [0, 1, 49, 500, 950, 999])
def test_any_offset_is_served_and_the_last_block_is_clipped(bench, offset):
    assert block_response(bench.ask_block(offset)).data == image().content[offset : offset + 50]


def test_a_request_that_comes_twice_is_answered_twice(bench):
    assert block_response(bench.ask_block(100)) == block_response(bench.ask_block(100))


def test_requests_are_answered_while_earlier_answers_are_under_way(bench):
    for number in range(10):
        assert block_response(bench.ask_block(number * 50, report=False)).offset_bytes == number * 50


def test_a_device_may_begin_without_a_query():
    bench = Bench()
    bench.offer()
    assert block_response(bench.ask_block(0)).offset_bytes == 0
    assert bench.state is TransferState.DOWNLOADING


def test_a_device_that_starts_over_is_served_from_the_start(bench):
    bench.download()
    assert bench.download() == image().content
    assert bench.state is TransferState.SERVED


def test_blocks_are_bulk_and_go_to_the_endpoint_that_asked(bench):
    (send,) = only(Send, bench.ask_block(0))
    assert (send.urgency, send.endpoint) == (Urgency.BULK, ENDPOINT)


def test_a_block_is_acknowledged_where_the_hub_would_not_hear_of_its_loss_or_the_image_ends():
    for sleepy in (False, True):
        bench = Bench()
        bench.offer(sleepy=sleepy)
        acknowledged = [only(Send, bench.ask_block(offset))[0].acknowledged for offset in (0, 50, 100, 900, 950)]
        assert acknowledged == ([True] * 5 if sleepy else [False] * 4 + [True])


def test_a_block_that_is_asked_for_again_although_it_left_shows_that_blocks_get_lost(bench):
    acknowledged = [only(Send, bench.ask_block(offset))[0].acknowledged for offset in (0, 50, 50, 100)]
    assert acknowledged == [False, False, True, True]


def test_a_block_that_the_dongle_did_not_deliver_goes_again_at_once_acknowledged_and_once(bench):
    (block,) = only(Send, bench.ask_block(100, report=False))
    assert bench.fate(delivered=False) == (replace(block, acknowledged=True),)
    assert bench.fate(delivered=False) == ()
    (asked_again,) = only(Send, bench.ask_block(100))
    assert not asked_again.acknowledged, "the dongle told of the loss, and will tell of the next"


def test_a_client_that_misses_a_block_in_fragments_has_none_from_then_on(bench):
    (block,) = only(Send, bench.ask_block(0, 255))
    assert block.acknowledged
    sizes = [len(block_response(bench.ask_block(offset, 255)).data) for offset in (196, 196, 252, 252)]
    assert sizes == [196, 56, 56, 56]
    assert only(Send, bench.ask_block(252, 255))[0].acknowledged, "the second time it had no fragments to blame"


def test_a_block_in_fragments_that_was_not_delivered_is_the_last_of_them_and_does_not_go_again(bench):
    bench.ask_block(0, 255, report=False)
    assert bench.fate(delivered=False) == ()
    (small,) = only(Send, bench.ask_block(0, 255))
    assert not small.acknowledged


def test_a_device_that_sleeps_gets_no_fragments():
    bench = Bench()
    bench.offer(sleepy=True)
    assert len(block_response(bench.ask_block(0, 255)).data) == 56


def test_a_block_that_is_no_longer_wanted_does_not_go_again(bench):
    bench.ask_block(100, report=False)
    bench.ask_block(150, report=False)
    assert bench.fate(delivered=False) == ()
    assert bench.fate(delivered=True) == ()
    bench.ask_page(200, 32)
    assert bench.fate(delivered=False) == (), "it asks singly for what a page lacks"
    bench.ask_block(950, report=False)
    assert bench.fate(delivered=False) == (), "it was acknowledged as often as the dongle tries"


def test_no_block_goes_again_after_its_update_has_ended(bench):
    bench.ask_block(100, report=False)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert not [send for send in bench.fate(delivered=False) if send.token is Token.BLOCK]


@pytest.mark.parametrize("offset", [1000, 1001, 0xFFFF_FFFF])
def test_an_offset_past_the_end_is_malformed_and_ends_nothing(bench, offset):
    effects = bench.ask_block(offset)
    assert default_response(effects) == DefaultResponse(zcl.ImageBlockRequest.COMMAND, Status.MALFORMED_COMMAND)
    assert not only(TransferEnded, effects)
    assert bench.download() == image().content


def test_a_block_of_no_bytes_is_malformed(bench):
    assert default_response(bench.ask_block(0, 0)).status == Status.MALFORMED_COMMAND


@pytest.mark.parametrize(
    "ids",
    [(MANUFACTURER + 1, IMAGE_TYPE, NEW), (MANUFACTURER, IMAGE_TYPE + 1, NEW), (MANUFACTURER, IMAGE_TYPE, NEW + 1)],
)
def test_blocks_of_an_image_that_is_not_offered_are_aborted_and_end_nothing(bench, ids):
    assert block_response(bench.ask_block(0, ids=ids)) == zcl.BlockRefused(Status.ABORT)
    assert bench.state is TransferState.DOWNLOADING


def test_a_missing_file_is_aborted():
    effects = Bench().ask_block(100, ids=(0xFFF0, 0, 0xFFFF_FFF0))
    assert block_response(effects) == zcl.BlockRefused(Status.ABORT)


def test_the_period_is_tolerated_with_and_without_its_bit(bench):
    request = zcl.ImageBlockRequest(*IDS, 0, 50, minimum_block_period=250)
    honest = zcl.command(request, 1)
    silent = honest[:3] + b"\x00" + honest[4:]
    for octets in (honest, silent):
        assert block_response(bench.hear_octets(octets)).data == image().content[:50]


def test_a_node_address_is_tolerated(bench):
    effects = bench.hear(zcl.ImageBlockRequest(*IDS, 0, 50, node=PPMID))
    assert block_response(effects).data == image().content[:50]


def test_progress_is_told_with_what_was_sent(bench):
    (progress,) = only(Progress, bench.ask_block(100))
    assert (progress.offset_bytes, progress.size_bytes, progress.blocks) == (150, 1000, 1)


def test_the_answer_has_the_sequence_of_the_request(bench):
    (send,) = only(Send, bench.hear_octets(zcl.command(zcl.ImageBlockRequest(*IDS, 0, 50), 0xA5)))
    assert Frame.from_bytes(send.payload).sequence == 0xA5


# Floods and silence


def test_a_flood_is_told_to_wait_and_then_cut_off(bench):
    served = waits = 0
    for _ in range(1000):  # in one second, none of the answers delivered
        bench.advance(0.001)
        for send in only(Send, bench.ask_block(0, report=False)):
            match zcl.parse_image_block_response(send.payload[3:]):
                case zcl.ImageBlock():
                    served += 1
                case zcl.WaitForData(current_time=0, request_time=1):
                    waits += 1
    assert served == bench.policy.blocks_in_flight
    assert waits == 1
    assert alarms(tuple(bench.history)) == [AlarmKind.FLOOD]


def test_a_flood_that_goes_on_is_told_once_a_minute_and_told_to_wait_once_a_second(bench):
    for _ in range(40):
        bench.ask_block(0, report=False)
    bench.history.clear()
    sent = []
    for _ in range(60):
        bench.advance(1)
        bench.server.get(PPMID).in_flight_since = bench.instant  # the radio is slow, and alive
        sent += only(Send, bench.ask_block(0, report=False))
    assert len(sent) == 60
    assert alarms(tuple(bench.history)) == [AlarmKind.FLOOD]


def test_a_flood_does_not_touch_another_device(bench):
    other = 0x42
    bench.server.offer(replace(bench.update, id=2, device=other), image(), bench.now)
    for _ in range(100):
        bench.ask_block(0, report=False)
    effects = bench.server.receive(other, 1, zcl.command(zcl.ImageBlockRequest(*IDS, 0, 50), 1), bench.now)
    assert blocks(effects)


def test_after_a_flood_the_device_is_served_again_once_its_answers_are_out(bench):
    sends = [send for _ in range(40) for send in only(Send, bench.ask_block(0, report=False))]
    for send in sends:
        bench.server.delivered(PPMID, send.token, True, bench.now)
    assert blocks(bench.ask_block(0))


def test_a_radio_that_lost_count_is_not_believed_for_ever(bench):
    for _ in range(40):
        bench.ask_block(0, report=False)
    bench.advance(11)
    assert blocks(bench.ask_block(0, report=False))


def test_after_a_radio_lost_count_the_next_flood_is_cut_off_again(bench):
    for _ in range(40):
        bench.ask_block(0, report=False)
    bench.advance(11)
    served = sum(bool(blocks(bench.ask_block(0, report=False))) for _ in range(100))
    assert served == bench.policy.blocks_in_flight


def test_a_radio_that_is_slow_is_not_one_that_lost_count(bench):
    for _ in range(40):
        bench.ask_block(0, report=False)
    for _ in range(3):
        bench.advance(5)
        bench.server.delivered(PPMID, Token.BLOCK, True, bench.now)
    for _ in range(3):
        assert blocks(bench.ask_block(0, report=False))
    assert not blocks(bench.ask_block(0, report=False))


def test_bytes_that_were_never_sent_are_remarked_and_the_device_is_believed(bench):
    for offset in (0, 100, 150, 200):
        bench.ask_block(offset)
    bench.download(start=250)
    effects = bench.end()
    assert alarms(effects) == [AlarmKind.PART_NOT_SERVED]
    (ended,) = only(TransferEnded, effects)
    assert ended.outcome is TransferOutcome.SUCCESS
    assert not alarms(bench.end()), "told once"


def test_bytes_that_were_fetched_late_are_no_remark(bench):
    for offset in (0, 100):
        bench.ask_block(offset)
    bench.download(start=150)
    bench.ask_block(50)
    assert not alarms(bench.end())


def test_one_block_in_ten_minutes_is_no_failure(bench):
    for offset in range(0, 1000, 50):
        effects = bench.run(600)
        assert not alarms(effects)
        bench.ask_block(offset)
    assert bench.state is TransferState.SERVED


def test_a_long_silence_is_reported_once_and_ends_nothing(bench):
    bench.ask_block(0)
    effects = bench.run(24 * 3600)
    assert alarms(effects) == [AlarmKind.STALLED]
    assert bench.state is TransferState.DOWNLOADING
    assert bench.download(50) == image().content[50:]


def test_a_second_silence_is_reported_again(bench):
    bench.ask_block(0)
    bench.run(3600)
    bench.ask_block(50)
    assert alarms(bench.run(3600)) == [AlarmKind.STALLED]


def test_verifying_takes_longer_than_a_block(bench):
    bench.download()
    assert not alarms(bench.run(bench.policy.verify_s - 10))
    assert alarms(bench.run(20)) == [AlarmKind.STALLED]


# Pages


def test_a_page_comes_in_blocks_of_the_asked_size_with_the_asked_spacing(bench):
    first = bench.ask_page(64, 128, 32, 50)
    assert blocks(first) == [zcl.ImageBlock(*IDS, 64, image().content[64:96])]
    offsets = []
    for _ in range(3):
        assert bench.run(0.049) == ()
        offsets += [block.offset_bytes for block in blocks(bench.run(0.002))]
        bench.instant -= 0.001  # the next spacing counts from the block
    assert offsets == [96, 128, 160]
    assert blocks(bench.run(1)) == []


def test_page_blocks_are_not_acknowledged_and_have_sequences_of_their_own(bench):
    effects = bench.ask_page(0, 96) + bench.run(1)
    sends = only(Send, effects)
    assert [send.acknowledged for send in sends] == [False] * 3
    assert len({Frame.from_bytes(send.payload).sequence for send in sends}) == 3


def test_a_page_past_the_end_of_the_file_is_clipped(bench):
    effects = bench.ask_page(960, 1024, 32) + bench.run(100)
    assert [(block.offset_bytes, len(block.data)) for block in blocks(effects)] == [(960, 32), (992, 8)]


def test_a_file_in_pages_is_byte_exact(bench):
    got = b""
    for offset in range(0, 1000, 256):
        got += b"".join(block.data for block in blocks(bench.ask_page(offset, 256) + bench.run(1)))
    assert got == image().content
    assert bench.state is TransferState.SERVED


def test_a_spacing_of_nothing_is_paced_all_the_same(bench):
    assert len(blocks(bench.ask_page(0, 960, spacing_ms=0))) == 1
    assert len(blocks(bench.run(10 * bench.policy.minimum_spacing_s))) in (9, 10)


def test_a_timer_that_is_late_costs_a_page_without_spacing_no_time_and_is_no_burst(bench):
    bench.ask_page(0, 1000, 8, spacing_ms=0)
    bench.advance(0.0011)  # as epoll has it
    assert len(blocks(bench.carry_out(bench.due()))) == 4
    bench.advance(1)  # the process stood still
    assert len(blocks(bench.carry_out(bench.due()))) < 10


def test_a_late_timer_shortens_no_spacing_that_was_asked_for(bench):
    bench.ask_page(0, 960, spacing_ms=50)
    bench.advance(0.149)
    assert len(blocks(bench.carry_out(bench.due()))) == 1
    assert blocks(bench.run(0.049)) == []


def test_a_page_ends_with_the_update(bench):
    bench.ask_page(0, 320)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.run(10) == ()


def test_a_new_page_takes_the_place_of_the_old_one(bench):
    bench.ask_page(0, 320)
    effects = bench.ask_page(640, 64) + bench.run(10)
    assert [block.offset_bytes for block in blocks(effects)] == [640, 672]


def test_a_block_request_takes_the_place_of_a_page(bench):
    bench.ask_page(0, 320)
    assert block_response(bench.ask_block(32, 32)).offset_bytes == 32
    assert not blocks(bench.run(10))


@pytest.mark.parametrize(("offset", "page", "size"), [(1000, 64, 32), (0, 0, 32), (0, 64, 0)])
def test_a_page_of_nothing_or_past_the_end_is_malformed(bench, offset, page, size):
    effects = bench.ask_page(offset, page, size)
    assert default_response(effects) == DefaultResponse(zcl.ImagePageRequest.COMMAND, Status.MALFORMED_COMMAND)


def test_a_page_of_blocks_that_no_frame_carries_is_refused_so_that_the_client_asks_for_blocks(bench):
    assert default_response(bench.ask_page(0, 1024, 64)).status == Status.UNSUP_CLUSTER_COMMAND


def test_a_page_of_an_image_that_is_not_offered_is_aborted(bench):
    effects = bench.hear(zcl.ImagePageRequest(MANUFACTURER, IMAGE_TYPE, NEW + 1, 0, 32, 64, 50))
    assert block_response(effects) == zcl.BlockRefused(Status.ABORT)


def test_a_page_waits_while_the_radio_is_behind(bench):
    for _ in range(32):
        bench.ask_block(0, report=False)
    assert block_response(bench.ask_page(0, 64)) == zcl.WaitForData(0, 1)
    bench.server.delivered(PPMID, only(Send, tuple(bench.history))[-2].token, True, bench.now)
    first = bench.server.receive(PPMID, ENDPOINT, zcl.command(zcl.ImagePageRequest(*IDS, 0, 32, 64, 50), 1), bench.now)
    assert len(blocks(first)) == 1
    bench.advance(0.06)
    assert bench.due() == ()
    bench.server.delivered(PPMID, only(Send, first)[0].token, True, bench.now)
    bench.advance(0.06)
    assert blocks(bench.due())


@pytest.mark.parametrize(("spacing_ms", "wait_s"), [(0, 0.005), (50, 0.05)])
def test_a_block_of_a_page_without_room_is_tried_again_no_sooner_than_was_asked(bench, spacing_ms, wait_s):
    bench.ask_page(0, 320, 32, spacing_ms)
    bench.server.get(PPMID).in_flight, bench.server.get(PPMID).in_flight_since = 32, bench.instant
    bench.advance(0.05)
    assert bench.due() == ()
    assert bench.server.deadline() == pytest.approx(bench.instant + wait_s)


def test_a_default_response_to_a_page_is_kept_where_it_would_answer_success(bench):
    frame = Frame.from_bytes(zcl.command(zcl.UpgradeEndRequest(Status.ABORT, *IDS), 1))
    assert frame.disable_default_response
    assert not only(Send, bench.hear_octets(frame.to_bytes()))


# What was sent


def test_coverage_joins_what_comes_out_of_order():
    coverage = Coverage()
    coverage.add(0, 50)
    coverage.add(100, 150)
    coverage.add(150, 200)
    assert coverage.contiguous == 50
    coverage.add(50, 100)
    assert coverage.contiguous == 200


def test_the_first_range_says_where_a_device_resumes():
    coverage = Coverage()
    coverage.add(500, 550)
    assert coverage.contiguous == 550
    coverage.add(600, 650)
    assert coverage.contiguous == 550


def test_a_device_that_asks_all_over_the_place_does_not_fill_the_memory():
    coverage = Coverage()
    coverage.add(0, 1)
    for offset in range(10, 100_000, 10):
        coverage.add(offset, offset + 1)
    for offset in range(10, 660, 10):
        coverage.add(offset - 9, offset)  # the gap before it
    assert coverage.contiguous == 650, "64 of them were remembered, and the one at 650 was not"
