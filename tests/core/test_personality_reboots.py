"""What a reboot leaves of a download, or of a whole image, in the OTA clients of the field; docs/personalities.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices.nodes import events
from devices.nodes.ota_states import State
from devices.nodes.personalities import (
    ESP_V1,
    ESP_V2,
    MICROCHIP,
    NORDIC,
    NXP,
    SILICON_LABS,
    SPEC_STRICT,
    ST,
    TELINK,
    TI,
)
from devices.wire import ota
from devices.wire.zcl import Status, ZclFrame
from tests.support.client_bench import FOREVER, WANTED, ClientBench, by_personality
from tests.support.model_hub import NEW, OLD, Rig, image

if TYPE_CHECKING:
    from devices.nodes.personality import Personality

Command = ota.Command
BIG = image(body_bytes=20_000)


@by_personality(
    ("personality", "had", "queries", "offset"),
    (SPEC_STRICT, 5000, False, 4100),  # remembered when a sector of 2,048 was full
    (SILICON_LABS, 5000, False, 4158),
    (TELINK, 4900, True, 4800),  # each 20,060 // 5,280 + 1 = 4 blocks of 48
    (TELINK, 4080, True, 0),  # not above 4,096
    (TI, 5000, True, 0),
    (NXP, 5000, False, 4128),
    (ST, 5000, True, 0),
    (MICROCHIP, 5000, False, 4128),
    (NORDIC, 5000, True, 0),
    (ESP_V1, 5000, True, 0),
    (ESP_V2, 5000, True, 0),
)
def test_where_a_download_goes_on_after_a_reboot(personality, had: int, queries: bool, offset: int) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(had)
    bench.reboot()
    if personality is NXP:
        assert bench.requests() == []
        assert 1 <= bench.wait_s <= 10
        bench.wait()
    if queries:
        assert bench.requests() == []
        bench.wait()
        bench.offer()
    assert bench.asks_block().offset == offset
    bench.load()
    assert bench.state is State.ENDING


@pytest.mark.parametrize("told", [FOREVER, 600], ids=["hold", "countdown"])
@by_personality(
    ("personality", "asks", "offset"),
    (SPEC_STRICT, True, None),  # Upgrade End at once, and the image is kept
    (SILICON_LABS, True, None),
    (MICROCHIP, True, None),
    (TI, False, 0),  # loads it again
    (ST, False, 0),
    (ESP_V2, False, 0),
)
def test_a_reboot_with_the_whole_image(personality: Personality, asks: bool, offset: int | None, told: int) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, told, WANTED)
    bench.reboot()
    assert [end.status for end in bench.ends()] == ([Status.SUCCESS] if asks else [])
    if offset is not None:
        bench.wait()
        bench.offer()
        assert bench.asks_block().offset == offset


@pytest.mark.parametrize("told", [FOREVER, 600], ids=["hold", "countdown"])
def test_telink_starts_a_stored_image_as_soon_as_it_is_offered_and_asks_nobody(told: int) -> None:
    bench = ClientBench(TELINK, octets=BIG)
    bench.ending()
    bench.end(0, told)
    bench.reboot()
    bench.wait()
    bench.give(Command.QUERY_NEXT_IMAGE_RESPONSE, bytes((Status.NO_IMAGE_AVAILABLE,)))
    for _ in range(100):
        bench.wait()
    assert (bench.activated(), bench.ends()) == (None, [])
    bench.offer()
    assert (bench.activated(), bench.ends()) == (True, [])


def test_telink_starts_it_out_of_a_hold_or_a_countdown_too() -> None:
    for told in (FOREVER, 600):
        bench = ClientBench(TELINK, octets=BIG)
        bench.ending()
        bench.end(0, told)
        bench.offer()
        assert bench.activated() is True


def test_telink_loads_a_small_image_again() -> None:
    bench = ClientBench(TELINK)
    bench.ending()
    bench.end(0, FOREVER)
    bench.reboot()
    bench.wait()
    bench.offer()
    assert bench.asks_block().offset == 0


@pytest.mark.parametrize("upgrade_s", [FOREVER, 600, None], ids=["hold", "countdown", "unanswered"])
def test_nordic_starts_a_complete_image_at_any_reset(upgrade_s: int | None) -> None:
    for personality, version in ((NORDIC, NEW), (SPEC_STRICT, OLD)):
        rig = Rig(hub_image=image(), personality=personality)
        rig.hub.upgrade_time = None if upgrade_s is None else (0, upgrade_s)
        rig.device.power_on()
        rig.run_until(lambda rig=rig: rig.saw(events.DownloadComplete))
        rig.run(1)
        assert rig.device.file_version() == OLD
        rig.device.reboot()
        rig.run(2)
        assert (rig.device.file_version(), rig.saw(events.Activating)) == (version, False)


def test_an_image_that_nordic_was_told_to_forget_is_not_started_by_a_reset() -> None:
    rig = Rig(hub_image=image(), personality=NORDIC)
    rig.hub.upgrade_time = (0, FOREVER)
    rig.device.power_on()
    rig.run_until(lambda: rig.saw(events.Held))
    request = ZclFrame(1, Command.UPGRADE_END_REQUEST, ota.UpgradeEndRequest(0, WANTED).to_bytes())
    rig.stack.deliver(ota.CLUSTER, request.default_response(Status.ABORT))
    rig.run(1)
    assert rig.saw(events.Cancelled)
    rig.hub.image = None
    rig.device.reboot()
    rig.run(5)
    assert rig.device.file_version() == OLD
