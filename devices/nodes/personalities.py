"""The OTA clients that can be emulated: those of the field, and a few that differ from the standard in one thing.

Each is a row of data; `personality` says what a field means, docs/personalities.md what is special about each row and
where it is known from. TI's, NXP's, ST's, Microchip's and ZBOSS's sources are licensed for some silicon only: what they
do was described from reading, and nothing of them is here.
"""

from __future__ import annotations

from dataclasses import replace

from devices.nodes.personality import (
    CancelledBy,
    CountdownChange,
    DefaultResponse,
    GivesUp,
    Names,
    OtherStatus,
    PastTime,
    PeriodKept,
    PeriodUnit,
    PeriodUse,
    Personality,
    Resume,
    StoredImage,
    Unanswered,
)
from devices.wire.zcl import Status

SPEC_STRICT = Personality("spec-strict")
SPEC_STRICT_NO_TIME = replace(SPEC_STRICT, name="spec-strict-no-time", has_time=False)
OUT_OF_BAND = replace(SPEC_STRICT, name="out-of-band", activation_policy=1)
SECONDS_PERIOD = replace(SPEC_STRICT, name="seconds-period", period_unit=PeriodUnit.SECOND, sends_period=True)
UNFLAGGED_PERIOD = replace(SPEC_STRICT, name="unflagged-period", sends_period=True, period_flag=False)

# ota-client.c of EmberZNet 2013 and of the Simplicity SDK.
SILICON_LABS = Personality(
    "silicon-labs",
    has_time=False,
    discovery_interval_s=120.0,
    block_bytes=63,
    keeps_partial_image=False,
    wait_for_data_max_s=3600.0,
    page_spacing_ms=50,
    page_block_bytes=32,
    end_attempts=10,
    unanswered=Unanswered.ACTIVATES,
    answers_reset_misses=False,
    countdown_min_s=3.0,
    countdown_max_s=3600.0,
    countdown_change=CountdownChange.NOTHING,
    countdown_refusal=Status.FAILURE,
    ms_in_u32=True,
)

# ota.c and ota.h of Telink's ZigBee SDK; every figure was measured on that code.
TELINK = Personality(
    "telink",
    has_time=False,
    discovery_interval_s=120.0,
    query_timeout_s=None,
    query_has_hardware=False,
    copies_notify_security=True,
    block_bytes=48,
    asks_the_rest=True,
    sends_period=True,
    block_timeout_s=5.0,
    block_backoff_s=0.0,
    failure_told_once=True,
    takes_long_blocks=True,
    reads_past_end=True,
    foreign_block_is_invalid=True,
    no_image_aborts=False,
    other_status=OtherStatus.MALFORMED,
    block_default_response=DefaultResponse.IGNORED,
    wait_for_data_underflow_s=None,
    period_use=PeriodUse.WITHOUT_WAIT,
    period_kept=PeriodKept.BOOT,
    resume=Resume.AFTER_QUERY,
    resume_above_bytes=4096,
    checkpoint_bytes=110 * 48,
    stored_image=StoredImage.ACTIVATES,
    end_timeout_s=5.0,
    end_attempts=2,
    unanswered=Unanswered.ACTIVATES,
    past_time=PastTime.NOW,
    hold_reask_repeats=False,
    hold_is_heard_once=True,
    hold_limit_s=7200.0,
    cancelled_by=CancelledBy.NOTHING,
    countdown_change=CountdownChange.NOTHING,
    ms_in_u32=True,
)

# zcl_ota.c of Z-Stack 3.0.0 and Home 1.2.2a. Later revisions take wildcards too.
TI = Personality(
    "ti",
    has_time=False,
    discovery_interval_s=5.0,
    query_delay_s=(30.0, 60.0),
    query_interval_s=(30.0, 60.0),
    query_timeout_s=None,
    query_has_hardware=False,
    block_bytes=32,
    sends_period=True,
    block_timeout_s=5.0,
    block_backoff_s=0.0,
    block_attempts=11,  # it asks again ten times
    failure_told_once=True,
    foreign_block_is_invalid=True,
    no_image_aborts=False,
    other_status=OtherStatus.MALFORMED,
    block_default_response=DefaultResponse.IGNORED,
    wait_needs_period=True,
    wait_for_data_underflow_s=None,
    period_use=PeriodUse.WITHOUT_WAIT,
    period_kept=PeriodKept.BOOT,
    resume=Resume.FROM_START,
    end_attempts=1,
    unanswered=Unanswered.WAITS,
    names=Names.ITS_OWN,
    past_time=PastTime.NOW,
    hold_reask_repeats=False,
    hold_is_heard_once=True,
    hold_limit_s=10_800.0,
    cancelled_by=CancelledBy.ABORT_BEFORE_ANSWER,
    countdown_change=CountdownChange.NOTHING,
)

# OTA_ClientUpgradeManager.c of the JN51xx stack (JN-SW-4170).
NXP = Personality(
    "nxp",
    unset_clock_is_zero=True,
    block_bytes=48,
    block_timeout_s=5.0,
    block_backoff_s=0.0,
    block_attempts=5,  # it asks again four times
    gives_up=GivesUp.SILENTLY,
    failure_told_once=True,
    keeps_partial_image=False,
    block_default_response=DefaultResponse.ENDS,
    wait_for_data_underflow_s=0.0,  # its clock plus the difference, in 32 bits, is a moment that has passed
    period_unit=PeriodUnit.SECOND,
    period_max=5,
    page_bytes=512,
    page_spacing_ms=300,
    page_attempts=3,
    resume_delay_s=(1.0, 10.0),
    end_timeout_s=11.0,
    end_attempts=5,  # it asks again four times
    unanswered=Unanswered.DROPS,
    past_time=PastTime.NOW,
    hold_reask_repeats=False,
    countdown_change=CountdownChange.NOTHING,
)

# zcl.ota.c of Exegin's stack, as in STM32WB; its own callbacks where the application sets none.
ST = Personality(
    "st",
    has_time=False,
    block_bytes=49,  # what fits behind NWK security
    sends_period=True,
    block_pace_s=0.05,
    block_backoff_s=0.05,
    block_attempts=11,  # it asks again ten times
    gives_up=GivesUp.SILENTLY,
    failure_told_once=True,
    no_image_aborts=False,
    other_status=OtherStatus.STALLS,
    block_default_response=DefaultResponse.ENDS,
    wait_for_data_underflow_s=None,
    period_use=PeriodUse.RAISED,
    period_kept=PeriodKept.BOOT,
    resume=Resume.FROM_START,
    end_attempts=1,
    unanswered=Unanswered.WAITS,
    names=Names.ANY,
    past_time=PastTime.DROPS,
    hold_reask_s=None,
    cancelled_by=CancelledBy.NOTHING,
    countdown_change=CountdownChange.ANOTHER_TIME,
    ms_in_u32=True,
)

# zclOtauClient*.c of BitCloud, as in WBZ451.
MICROCHIP = Personality(
    "microchip",
    has_time=False,
    block_bytes=48,
    sends_period=True,
    block_pace_s=0.1,
    delivery_s=0.25,  # our choice: it is computed from the network's depth
    block_backoff_s=0.0,
    block_attempts=4,  # it asks again three times
    gives_up=GivesUp.LOOKS_AGAIN,
    failure_told_once=True,
    keeps_partial_image=False,
    no_image_aborts=False,
    wait_ignored=True,
    wait_underflow_ends_download=True,
    period_use=PeriodUse.WITHOUT_WAIT,
    period_kept=PeriodKept.FLASH,
    end_attempts=4,  # it asks again three times; how long it waits is our choice
    unanswered=Unanswered.ACTIVATES,
    names=Names.ANY,
    past_time=PastTime.WRAPS,
    ms_in_u32=True,
)

# zigbee_fota.c of Nordic's nRF Connect SDK, over ZBOSS: zcl_ota_upgrade_commands.c and zb_zcl_ota_upgrade.h.
NORDIC = Personality(
    "nordic",
    has_time=False,
    discovery_interval_s=86_400.0,
    downgrade_refusal=Status.ABORT,
    block_bytes=40,
    sends_node=True,
    sends_period=True,
    block_timeout_s=45.0,
    block_backoff_s=0.0,
    block_attempts=3,  # our choice: the number is not in what is public
    failure_told_once=True,
    no_image_aborts=False,
    other_status=OtherStatus.IGNORED,
    block_default_response=DefaultResponse.ABORT,
    wait_for_data_underflow_s=None,
    resume=Resume.FROM_START,
    boot_applies=True,
    end_attempts=1,
    unanswered=Unanswered.WAITS,
    names=Names.ITS_OWN,
    past_time=PastTime.REFUSED,
    hold_reask_s=None,
    cancelled_by=CancelledBy.ABORT,
    countdown_change=CountdownChange.EARLIER_TIME,
)

# Issues #833 and #860 of espressif/esp-zigbee-sdk; version 1 is over ZBOSS too.
ESP_V1 = replace(
    NORDIC,
    name="esp-v1",
    discovery_interval_s=SPEC_STRICT.discovery_interval_s,
    downgrade_refusal=None,
    block_bytes=223,
    block_timeout_s=7.0,
    block_attempts=1,
    gives_up=GivesUp.SILENTLY,
    boot_applies=False,
)
ESP_V2 = replace(
    SPEC_STRICT,
    name="esp-v2",
    block_bytes=48,
    block_timeout_s=5.0,
    block_backoff_s=0.6,
    block_attempts=3,
    resume=Resume.FROM_START,
)

PERSONALITIES = {
    personality.name: personality
    for personality in (
        SPEC_STRICT,
        SPEC_STRICT_NO_TIME,
        OUT_OF_BAND,
        SILICON_LABS,
        TELINK,
        TI,
        NXP,
        ST,
        MICROCHIP,
        NORDIC,
        ESP_V1,
        ESP_V2,
        SECONDS_PERIOD,
        UNFLAGGED_PERIOD,
    )
}
"""By the name that a scenario file uses."""
