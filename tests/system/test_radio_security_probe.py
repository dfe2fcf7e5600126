"""`chf radio probe --security`: every question has its answer or says that it is open, and the stick is as it was."""

import json
from dataclasses import replace

import pytest

from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.znp import ZnpRadio, ZnpSettings
from devices.ncp.sticks import V8, V13, V18, ZSTACK_3_30
from devices.stack.interface import Eui64
from tests.support.programs import run_chf
from tests.support.radio_dongle import plugged_dongle
from tests.support.radio_listener import RecordingListener
from tests.support.virtual_dongle import ppmid, virtual_dongle

METER = Eui64(0x00_DB_12_34_56_78_90_A4)
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")


async def with_a_key(radio):
    await radio.start(RecordingListener(), form=True)
    await radio.install_link_key(METER, KEY)
    await radio.stop()


@pytest.mark.parametrize("personality", [V8, V13, V18], ids=lambda personality: personality.name)
async def test_an_ezsp_stick_answers_and_keeps_its_key_table(personality):
    async with plugged_dongle(personality) as dongle:
        radio = EzspRadio(EzspSettings(dongle.port))
        await with_a_key(radio)
        before, writes = dongle.ncp.keys.in_use(), dongle.ncp.keys.revision
        report = await radio.probe_security()
        assert dongle.ncp.keys.in_use() == before == {METER: KEY}
        assert dongle.ncp.keys.revision == writes + 1  # the trial was made
    seen = {line.name: line.value for line in report.observations}
    assert seen["CBKE library, suite 2"] == "not present (0x00)"
    assert seen["certificate, suite 2"] in ("LIBRARY_NOT_PRESENT", "NOT_AVAILABLE")
    assert seen["own EUI-64"] == "can be written once for life"
    assert seen["key table"] == "64 entries"
    assert seen["its bitmask, read back"] == "0x001E"
    assert [question.name for question in report.questions] == [f"E{number}" for number in range(1, 8)]
    assert report.questions[0].answer.startswith("the bit is set")
    assert KEY.hex() not in json.dumps(report.as_json()).lower()


async def test_a_full_key_table_is_left_alone_and_the_question_stays_open():
    async with plugged_dongle(V13) as dongle:
        radio = EzspRadio(EzspSettings(dongle.port, key_table_size=4))
        await radio.start(RecordingListener(), form=True)
        for number in range(4):
            await radio.install_link_key(Eui64(METER + number), KEY)
        await radio.stop()
        before = dongle.ncp.keys.in_use()
        report = await radio.probe_security()
        assert dongle.ncp.keys.in_use() == before
    assert "no index is free" in report.questions[0].answer


async def test_a_z_stack_stick_answers_and_keeps_its_flash():
    async with plugged_dongle(replace(ZSTACK_3_30, lacks=frozenset({"getLinkKey", "setLinkKey"}))) as dongle:
        radio = ZnpRadio(ZnpSettings(dongle.port))
        await radio.start(RecordingListener(), form=True)
        await radio.stop()
        await radio.probe()
        before = dongle.ncp.nvram.retained()
        report = await radio.probe_security()
        assert dongle.ncp.nvram.retained() == before
    seen = {line.name: line.value for line in report.observations}
    assert seen["SecEntryLookupExt"] == "in this build"
    assert seen["GetLinkKey"].startswith("not in this build")
    assert seen["SetLinkKey"].startswith("not in this build")
    assert seen["table of trust-centre link keys"] == "64 entries"
    assert [question.name for question in report.questions] == [f"Z{number}" for number in range(1, 7)]


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
def test_the_command_prints_text_and_json(tmp_path, kind):
    home = tmp_path / "home"
    with virtual_dongle(tmp_path, ppmid(), "--ncp", kind) as dongle:
        report = run_chf("radio", "probe", dongle.port, "--security", "--json", home=home).json
        assert (report["kind"], report["channel"]) == (kind, None)
        assert all(line["standing"] for line in report["questions"])
        text = run_chf("radio", "probe", dongle.port, "--security", home=home)
        assert "not answerable without a device or a sniffer" in text.out
        assert run_chf("radio", "probe", "--security", home=home).code == 2
