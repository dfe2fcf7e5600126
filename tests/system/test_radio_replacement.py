"""A network is never destroyed by accident: backups that are refused, and networks that are put back, on both radios."""

import copy
import json
import stat
from contextlib import suppress

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.cli.network import replaced
from chf.errors import ChfError, RadioGoneError, UsageError
from devices.ncp import sticks
from tests.contract.radio_bench import KEY, METER, OTHER, ezsp, identity, znp
from tests.support.radio_dongle import plugged_dongle
from tests.support.radio_listener import RecordingListener

pytestmark = pytest.mark.timeout(300)

STICKS = {"ezsp": (sticks.V13, ezsp), "znp": (sticks.ZSTACK_3_30, znp)}


@pytest.fixture(params=STICKS)
async def networked(request):
    """A dongle with a network and two link keys, its radio, and what a backup says of it."""
    personality, make_radio = STICKS[request.param]
    async with plugged_dongle(personality) as dongle:
        radio = make_radio(dongle.port)
        await radio.start(RecordingListener(), form=True)
        await radio.permit(METER, KEY, 60)
        await radio.permit(OTHER, bytes(range(1, 17)), 60)
        await radio.stop()
        yield dongle, radio, json.loads(json.dumps(await radio.backup()))


def other_network(backup):
    other = copy.deepcopy(backup)
    other["pan_id"], other["extended_pan_id"] = "1a2b", "00124b0001020399"
    other["network_key"]["key"] = "f1" * 16
    return other


def own_json(backup):
    import zigpy.backups

    return json.loads(json.dumps(zigpy.backups.NetworkBackup.from_dict(backup).as_dict()))


def zigbee2mqtt(backup):
    """As zigbee-herdsman writes coordinator_backup.json: a date, short addresses without leading zeros."""
    file = copy.deepcopy(backup)
    file["metadata"]["source"] = "zigbee-herdsman@11.1.1"
    file["metadata"]["internal"] = {"date": "2026-11-23T18:00:00.000Z", "znpVersion": 1}
    for device in file["devices"]:
        device["nwk_address"] = "abc"
    return file


@pytest.mark.parametrize("form", [own_json, zigbee2mqtt], ids=["ZHA", "Zigbee2MQTT"])
async def test_backups_of_other_programs_are_restored(networked, form):
    _, radio, backup = networked
    info = await radio.restore(form(other_network(backup)))
    assert info.network.pan_id == 0x1A2B
    after = await radio.backup()
    keys = {device["link_key"]["key"] for device in after["devices"]}
    assert keys == {device["link_key"]["key"] for device in backup["devices"]}
    assert after["network_key"]["key"] == "f1" * 16
    assert after["network_key"]["frame_counter"] >= backup["network_key"]["frame_counter"] + 10_000


def with_(path, value):
    def change(backup):
        *parents, last = path
        place = backup
        for name in parents:
            place = place[name]
        place[last] = value
        return backup

    return change


def without(name):
    def change(backup):
        del backup[name]
        return backup

    return change


def crowded(backup):
    for n in range(300):
        key = {"key": f"{n + 1:032x}", "tx_counter": 1, "rx_counter": 1}
        device = {"ieee_address": f"00124b00aa00{n:04x}", "nwk_address": f"{n + 1:04x}", "is_child": False}
        backup["devices"].append({**device, "link_key": key})
    return backup


REFUSED = {
    "too many keys": (crowded, "room for"),
    "another format": (with_(["metadata", "format"], "x/y"), "format 'x/y'"),
    "another version": (with_(["metadata", "version"], 2), "version 2"),
    "zero counter": (with_(["network_key", "frame_counter"], 0), "frame counter 0"),
    "negative counter": (with_(["network_key", "frame_counter"], -1), "no frame counter"),
    "spent counter": (with_(["network_key", "frame_counter"], 0xFFFFFFF0), "used up"),
    "counter is text": (with_(["network_key", "frame_counter"], "7"), "no backup"),
    "channel": (with_(["channel"], 27), "channel 27"),
    "broadcast PAN": (with_(["pan_id"], "ffff"), "PAN id 0xFFFF"),
    "security level": (with_(["security_level"], 0), "security level 0"),
    "short network key": (with_(["network_key", "key"], "00" * 15), "15 octets"),
    "long link key": (with_(["devices", 0, "link_key", "key"], "11" * 17), "17 octets"),
    "no network key": (with_(["network_key", "key"], "00" * 16), "network key"),
    "no EUI-64": (with_(["coordinator_ieee"], "ff" * 8), "EUI-64"),
    **{f"without {name}": (without(name), name) for name in ("network_key", "channel", "devices", "coordinator_ieee")},
    "ZHA's, of the future": (lambda backup: {**own_json(backup), "version": 2}, "version 2"),
    "ZHA's, short key": (
        lambda backup: with_(["network_info", "network_key", "key"], ":".join(["00"] * 15))(own_json(backup)),
        "15 octets",
    ),
}


async def test_a_backup_that_is_of_no_use_leaves_the_network_as_it_was(networked):
    dongle, radio, backup = networked
    before = identity(dongle.stack.network)
    for case, (change, says) in REFUSED.items():
        with pytest.raises(ChfError) as refused:
            await radio.check(change(other_network(backup)))
        assert says in str(refused.value), case
        assert "f1f1" not in str(refused.value).replace(":", ""), case
    with pytest.raises(ChfError, match="room for"):
        await radio.restore(crowded(other_network(backup)))
    assert identity(dongle.stack.network) == before
    assert (await radio.backup())["devices"] == backup["devices"]


async def test_an_address_that_could_be_written_once_is_not_written(tmp_path):
    """Sticks of before EmberZNet 7 have no token for it, and what is burnt cannot be put back."""
    async with plugged_dongle(sticks.V8) as dongle:
        radio = ezsp(dongle.port)
        await radio.start(RecordingListener(), form=True)
        await radio.stop()
        backup = await radio.backup()
        before = identity(dongle.stack.network)
        other = other_network(backup) | {"coordinator_ieee": "00124b0001020399"}
        consent = {"i_understand_i_can_update_eui64_only_once_and_i_still_want_to_do_it": True}
        for stack_specific in ({}, {"ezsp": consent}):
            with pytest.raises(ChfError, match="firmware"):
                await radio.restore(other | {"stack_specific": stack_specific})
        assert identity(dongle.stack.network) == before


class Cuts:
    """The cable is pulled for a moment at the n-th word of the dongle, and once more at each of the next `more`."""

    def __init__(self, dongle, at, more=0):
        self.dongle, self.left, self.more, self.said = dongle, at, more, 0

    def __call__(self, octets):
        self.said += 1
        if self.said >= self.left and self.said <= self.left + self.more:
            self.dongle.cut()
            return b""
        return octets


async def cut_at(networked, tmp_path, at):
    """Whether the restore went through; the old network or the new one is on the dongle, whole."""
    dongle, radio, backup = networked
    wanted = other_network(backup)
    await radio.restore(backup)
    before = await radio.backup()
    cuts = dongle.line = Cuts(dongle, at)
    with suppress(ChfError):
        await replaced(radio, tmp_path / "home", lambda: radio.restore(wanted))
    dongle.line = lambda octets: octets
    after = await radio.backup()
    keys = {device["ieee_address"]: device["link_key"]["key"] for device in after["devices"]}
    assert keys == {device["ieee_address"]: device["link_key"]["key"] for device in before["devices"]}
    whole = (after["pan_id"], after["network_key"]["key"], after["extended_pan_id"], after["coordinator_ieee"])
    assert whole in [
        tuple(
            one[name]["key"] if name == "network_key" else one[name]
            for name in ("pan_id", "network_key", "extended_pan_id", "coordinator_ieee")
        )
        for one in (before, wanted)
    ]
    return cuts.said < at


@pytest.mark.parametrize("at", [12, 60, 75, 90, 110])
async def test_a_restore_that_is_cut_off_leaves_the_old_network_whole(networked, tmp_path, at):
    await cut_at(networked, tmp_path, at)


@pytest.mark.slow
@pytest.mark.timeout(2400)
async def test_a_restore_that_is_cut_off_at_any_word_of_the_dongle_leaves_a_whole_network(networked, tmp_path):
    at = 1
    while not await cut_at(networked, tmp_path / str(at), at):
        at += 1


async def test_a_network_that_cannot_be_put_back_is_said_to_be_lost_and_is_in_a_file(networked, tmp_path, monkeypatch):
    dongle, radio, backup = networked
    monkeypatch.setattr("chf.cli.network.PAUSE_S", 0.0)

    async def pulled_out_midway():
        await radio.leave()
        await dongle.pull_out()
        return await radio.probe()

    with pytest.raises(RadioGoneError, match="lost from the dongle") as lost:
        await replaced(radio, tmp_path / "home", pulled_out_midway)
    (file,) = (tmp_path / "home").iterdir()
    assert str(file) in str(lost.value)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["network_key"] == backup["network_key"]
    await dongle.plug_in()
    info = await radio.restore(json.loads(file.read_text()))
    assert f"{info.network.pan_id:04x}" == backup["pan_id"]
    with pytest.raises(UsageError):
        await radio.restore({})


@pytest.mark.parametrize("content", ["[" * 200_000, "{", "[]", '{"a": 1e999', ""])
def test_a_file_that_is_no_backup_is_refused_before_the_dongle_is_opened(tmp_path, content):
    file = tmp_path / "backup.json"
    file.write_text(content)
    found = CliRunner().invoke(chf, ["radio", "restore", str(file), "--port", "/dev/null", "--home", str(tmp_path)])
    assert isinstance(found.exception, UsageError)
    assert str(file) in str(found.exception)
