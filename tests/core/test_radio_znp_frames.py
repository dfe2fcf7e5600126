"""MT frames by hand: against zigpy-znp's tables, and on a noisy line."""

import random
from functools import reduce
from operator import xor

import pytest
import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from hypothesis import given, settings
from hypothesis import strategies as st
from zigpy_znp.frames import TransportFrame

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio.outbox import Acceptance
from chf.radio.znp import frames
from chf.radio.znp.frames import Outcome
from chf.radio.znp.link import MtLine

IEEE = znp.EUI64.deserialize(bytes(range(1, 9)))[0]
DEVICE = Eui64(int.from_bytes(bytes(range(1, 9)), "little"))
PARSERS = (
    frames.data_confirm,
    frames.incoming,
    frames.incoming_ext,
    frames.zdo_message,
    frames.device_joined,
    frames.device_left,
)


def body(command) -> bytes:
    return bytes(command.to_frame(align=True).data)


def number(command) -> int:
    return int(command.header.cmd0) << 8 | int(command.header.id)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (frames.PING, mt.SYS.Ping.Req),
        (frames.DATA_REQUEST, mt.AF.DataRequest.Req),
        (frames.DATA_REQUEST_EXT, mt.AF.DataRequestExt.Req),
        (frames.DATA_STORE, mt.AF.DataStore.Req),
        (frames.DATA_RETRIEVE, mt.AF.DataRetrieve.Req),
        (frames.EXT_ROUTE_DISC, mt.ZDO.ExtRouteDisc.Req),
        (frames.DATA_CONFIRM, mt.AF.DataConfirm.Callback),
        (frames.INCOMING_MSG, mt.AF.IncomingMsg.Callback),
        (frames.INCOMING_MSG_EXT, mt.AF.IncomingMsgExt.Callback),
        (frames.STATE_CHANGE_IND, mt.ZDO.StateChangeInd.Callback),
        (frames.LEAVE_IND, mt.ZDO.LeaveInd.Callback),
        (frames.TC_DEVICE_IND, mt.ZDO.TCDevInd.Callback),
        (frames.ZDO_MSG_CB_INCOMING, mt.ZDO.MsgCbIncoming.Callback),
        (frames.RESET_IND, mt.SYS.ResetInd.Callback),
        (frames.PING ^ frames.RESPONSE, mt.SYS.Ping.Rsp),
    ],
)
def test_command_numbers_are_those_of_zigpy_znp(ours, theirs):
    assert ours == number(theirs)


def test_a_request_is_packed_as_zigpy_znp_packs_it():
    theirs = mt.AF.DataRequest.Req(
        DstAddr=0x1234,
        DstEndpoint=3,
        SrcEndpoint=11,
        ClusterId=0x0019,
        TSN=200,
        Options=mt.af.TransmitOptions(0x70),
        Radius=30,
        Data=b"payload",
    )
    assert frames.data_request(frames.Addressing(0x1234, 3, 11, 0x0019, 200, 0x70), b"payload") == body(theirs)
    assert frames.frame(frames.DATA_REQUEST, body(theirs)) == TransportFrame(theirs.to_frame(align=True)).serialize()


def test_the_header_of_a_long_request_is_that_of_the_extended_one():
    theirs = mt.AF.DataRequestExt.Req(
        DstAddrModeAddress=znp.AddrModeAddress(mode=znp.AddrMode.NWK, address=0x1234),
        DstEndpoint=3,
        DstPanId=0,
        SrcEndpoint=11,
        ClusterId=0x0704,
        TSN=9,
        Options=mt.af.TransmitOptions(0x70),
        Radius=30,
        Data=b"",
    )
    ours = frames.long_data_request(frames.Addressing(0x1234, 3, 11, 0x0704, 9, 0x70), 500)
    assert ours == body(theirs)[:-2] + (500).to_bytes(2, "little")


def test_pieces_and_routes_are_packed_as_zigpy_znp_packs_them():
    assert frames.data_store(240, b"piece") == body(mt.AF.DataStore.Req(Index=240, Data=b"piece"))
    assert frames.data_retrieve(77, 240, 10) == body(mt.AF.DataRetrieve.Req(TimeStamp=77, Index=240, Length=10))
    theirs = mt.ZDO.ExtRouteDisc.Req(Dst=0x1234, Options=mt.zdo.RouteDiscoveryOptions.UNICAST, Radius=30)
    assert frames.route_discovery(0x1234) == body(theirs)
    retrieved = body(mt.AF.DataRetrieve.Rsp(Status=znp.Status.SUCCESS, Data=b"piece"))
    assert frames.retrieved(retrieved) == b"piece"
    assert frames.retrieved(retrieved[:-1]) is None
    assert frames.retrieved(body(mt.AF.DataRetrieve.Rsp(Status=znp.Status.FAILURE, Data=b""))) is None
    assert frames.retrieved(b"") is None


def test_what_comes_in_is_read_as_zigpy_znp_reads_it():
    theirs = mt.AF.IncomingMsg.Callback(
        GroupId=0,
        ClusterId=0x0019,
        SrcAddr=0x1234,
        SrcEndpoint=3,
        DstEndpoint=11,
        WasBroadcast=False,
        LQI=200,
        SecurityUse=True,
        TimeStamp=0x01020304,
        TSN=9,
        Data=b"payload",
        MacSrcAddr=0x1234,
        MsgResultRadius=30,
    )
    ours = frames.incoming(body(theirs))
    assert (ours.sender, ours.source_endpoint, ours.destination_endpoint, ours.cluster) == (0x1234, 3, 11, 0x0019)
    assert (ours.broadcast, ours.lqi, ours.secured) == (False, 200, True)
    assert (ours.timestamp, ours.length, ours.payload) == (0x01020304, 7, b"payload")
    assert frames.incoming(body(theirs)[:-3]).payload == b"payload"  # builds that leave the last three octets out


@pytest.mark.parametrize("inline", [True, False])
def test_a_long_message_that_comes_in_is_announced_with_or_without_its_contents(inline):
    theirs = body(
        mt.AF.IncomingMsgExt.Callback(
            GroupId=0,
            ClusterId=0x0704,
            SrcAddrModeAddress=znp.AddrModeAddress(mode=znp.AddrMode.NWK, address=0x1234),
            SrcEndpoint=3,
            SrcPanId=0,
            DstEndpoint=11,
            WasBroadcast=True,
            LQI=1,
            SecurityUse=0,
            TimeStamp=5,
            TSN=9,
            Data=b"payload",
            MacSrcAddr=0x1234,
            MsgResultRadius=30,
        )
    )
    ours = frames.incoming_ext(theirs if inline else theirs.replace(b"payload", b""))
    assert (ours.sender, ours.broadcast, ours.secured, ours.length) == (0x1234, True, False, 7)
    assert ours.payload == (b"payload" if inline else None)


def test_a_sender_without_a_network_address_is_not_understood():
    theirs = bytes.fromhex("0000 0407 03 0102030405060708 03 0000 0b 00 01 00 05000000 09 0000".replace(" ", ""))
    with pytest.raises(MalformedFrameError, match="addressing mode 3"):
        frames.incoming_ext(theirs)


def test_indications_are_read_as_zigpy_znp_reads_them():
    zdo = mt.ZDO.MsgCbIncoming.Callback(
        Src=0x1234, IsBroadcast=False, ClusterId=0x8006, SecurityUse=0, TSN=7, MacDst=0, Data=b"rest"
    )
    assert frames.zdo_message(body(zdo)) == frames.ZdoMessage(0x1234, 0x8006, b"\x07rest")
    joined = mt.ZDO.TCDevInd.Callback(SrcNwk=0x1234, SrcIEEE=IEEE, ParentNwk=0)
    assert frames.device_joined(body(joined)) == (0x1234, DEVICE)
    left = mt.ZDO.LeaveInd.Callback(NWK=0x1234, IEEE=IEEE, Request=False, Remove=False, Rejoin=True)
    assert frames.device_left(body(left)) == frames.DeviceLeft(DEVICE, rejoins=True)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (znp.Status.SUCCESS, Outcome.DELIVERED),
        (znp.Status.APS_NO_ACK, Outcome.NOT_DELIVERED),
        (znp.Status.MAC_TRANSACTION_EXPIRED, Outcome.NOT_DELIVERED),
        (znp.Status.NWK_NO_ROUTE, Outcome.NO_ROUTE),
        (znp.Status.BUFFER_FULL, Outcome.FULL),
        (znp.Status.MAC_NO_RESOURCES, Outcome.FULL),
        (znp.Status.MAC_TRANSACTION_OVERFLOW, Outcome.FULL),
        (znp.Status.SEC_NO_KEY, Outcome.REFUSED),
        (znp.Status.NWK_INVALID_REQUEST, Outcome.REFUSED),
    ],
)
def test_what_became_of_a_message(status, outcome):
    confirm = mt.AF.DataConfirm.Callback(Status=status, Endpoint=11, TSN=9)
    assert frames.data_confirm(body(confirm)) == frames.DataConfirm(9, outcome)


def test_what_is_said_to_a_request():
    assert frames.acceptance(b"\x00") is Acceptance.TAKEN
    assert frames.acceptance(b"\x11") is Acceptance.FULL
    assert frames.acceptance(b"\xa1") is Acceptance.REFUSED
    assert frames.acceptance(b"") is Acceptance.REFUSED
    assert frames.acceptance(None) is Acceptance.REFUSED


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=250)), max_size=6), st.integers(0, 2**32))
def test_frames_come_out_of_the_line_however_it_is_cut(sent, seed):
    line = b"".join(frames.frame(command, data) for command, data in sent)
    cuts, buffer, found = random.Random(seed), bytearray(), []
    while line or not found:
        size = cuts.randint(1, 40)
        buffer += line[:size]
        line = line[size:]
        while (taken := frames.take_frame(buffer)) is not None:
            found.append(taken)
        if not line:
            break
    assert found == sent
    assert not buffer


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=60).filter(lambda noise: 0xFE not in noise), st.binary(max_size=250))
def test_noise_before_a_frame_costs_nothing(noise, data):
    buffer = bytearray(noise + frames.frame(frames.INCOMING_MSG, data))
    assert frames.take_frame(buffer) == (frames.INCOMING_MSG, data)


def test_a_hit_frame_costs_itself_and_not_the_next():
    whole = frames.frame(frames.INCOMING_MSG, bytes(30))
    for place in range(2, len(whole)):
        hit = bytearray(whole)
        hit[place] ^= 0x20
        buffer = hit + bytearray(frames.frame(frames.DATA_CONFIRM, b"abc"))
        assert frames.take_frame(buffer) == (frames.DATA_CONFIRM, b"abc")


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(PARSERS), st.binary(max_size=64))
def test_junk_is_read_or_refused_and_nothing_else(parse, junk):
    try:
        parse(junk)
    except MalformedFrameError:
        return


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=400))
def test_junk_on_the_line_ends(junk):
    buffer = bytearray(junk)
    while frames.take_frame(buffer) is not None:
        pass
    assert len(buffer) < 256


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, 0xFFFF), st.binary(max_size=255), st.integers(0, 259), st.integers(1, 255))
def test_one_whole_frame_is_what_would_be_taken_from_the_line_and_nothing_else_is(command, data, place, noise):
    whole = frames.frame(command, data)
    fits = len(data) <= frames.MAXIMUM_DATA_BYTES
    assert frames.whole_frame(whole) == ((command, data) if fits else None)
    assert frames.whole_frame(whole) == frames.take_frame(bytearray(whole))
    assert frames.whole_frame(whole + b"\xfe") is None
    assert frames.whole_frame(whole[:-1]) is None
    hit = bytearray(whole)
    hit[place % len(whole)] ^= noise
    assert frames.whole_frame(bytes(hit)) is None


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=256))
def test_exclusive_or_by_halves_is_that_by_octets(octets):
    assert frames.exclusive_or(octets) == reduce(xor, octets, 0)


class Fails:
    """A dongle's owner that cannot handle what it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def heard(self, command: int, _data: bytes) -> None:
        self.told.append(command)
        raise AssertionError("a fault of ours")


def test_a_frame_that_cannot_be_handled_costs_itself_and_is_told(caplog):
    owner, other = Fails(), frames.frame(frames.RESET_IND, bytes(6))
    MtLine(owner, "port").data_received(frames.frame(frames.DATA_CONFIRM, b"abc") + other)
    assert owner.told == [frames.DATA_CONFIRM, frames.RESET_IND]
    assert caplog.text.count("could not be handled: AssertionError") == 2


def test_where_noise_hit_a_length_the_frames_behind_it_are_found_once_an_answer_is_missed():
    owner = Fails()
    line = MtLine(owner, "port")
    line.data_received(b"\xfe\xf0\x44\x80" + frames.frame(frames.DATA_CONFIRM, b"abc"))
    assert not owner.told
    line.resynchronise()
    assert owner.told == [frames.DATA_CONFIRM]
