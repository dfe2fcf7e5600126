"""SR 11.2 with a time: the DCC side keeps it, makes the command when it is due, and tells of what comes to nothing."""

from dataclasses import replace

import pytest

from chf.clock import UtcSeconds
from chf.dcc.desk import Desk
from chf.dcc.settings import DeskPolicy
from chf.dcc.unanswered import HUB_PATIENCE_S
from chf.duis import RequestId
from chf.duis.device_request import ReadFirmwareVersionRequest
from chf.gbcs import GbcsMessage
from chf.store.device_log import DeviceEntry, DeviceType
from chf.store.device_messages import MessageState
from tests.support.dcc_bench import NOW, PPMID, SUPPLIER, field
from tests.support.desk_bench import DeskBench, S, desk_bench, later

DUE_S = 600.0
LIFETIME_S = DeskPolicy().device_message_lifetime_s
REQUEST = RequestId(SUPPLIER, PPMID, 1000)


class Dated(DeskBench):
    """A desk that took one dated SR 11.2."""

    def at(self, seconds: float):
        """The commands that are on their way, after the DCC side looked at this time."""
        self.convert(later(seconds))
        return self.store.device_messages.list()

    def codes(self) -> list[str | None]:
        return [field(document.document, "ResponseCode") for document in self.store.uplink.list()]


@pytest.fixture
def dated(tmp_path):
    with desk_bench(tmp_path, Dated) as made:
        assert made.ask(ReadFirmwareVersionRequest(REQUEST, int(NOW.utc + DUE_S)), S).code.value == "I99"
        yield made


def test_dated_read_becomes_a_command_at_its_time_and_once(dated):
    assert dated.at(DUE_S - 1) == ()
    (command,) = dated.at(DUE_S)
    assert (command.request, command.expires) == (str(REQUEST), NOW.utc + DUE_S + LIFETIME_S)
    party = GbcsMessage.from_bytes(command.message).header.supplementary
    assert (party.entity_id, party.counter) == (SUPPLIER, 1000)
    assert dated.at(DUE_S + 1) == (command,)


def test_dated_read_has_a_counter_above_those_of_commands_that_were_sent_before_it(dated):
    """Devices refuse what is below: a command that was made when the request came would be a replay at its time."""
    now = later(DUE_S - 1)
    Desk(dated.store, dated.pki).take(ReadFirmwareVersionRequest(RequestId(SUPPLIER, PPMID, 1001)).to_bytes(), now)
    dated_command, immediate = dated.at(DUE_S)
    assert (dated_command.request, immediate.request) == (str(REQUEST), str(RequestId(SUPPLIER, PPMID, 1001)))
    assert dated_command.counter > immediate.counter


def test_dated_read_waits_for_a_clock_that_is_trusted(dated):
    dated.convert(replace(later(DUE_S), distrust="it was set"))
    assert dated.store.device_messages.list() == ()
    assert len(dated.at(DUE_S)) == 1


def test_dated_read_is_made_late_by_a_process_that_was_down_at_the_time(dated):
    assert len(dated.at(DUE_S + LIFETIME_S)) == 1
    assert dated.codes() == []


def test_dated_read_whose_time_was_over_while_nobody_ran_is_told_with_e30(dated):
    assert dated.at(DUE_S + LIFETIME_S + 1) == ()
    assert dated.codes() == ["E30"]
    dated.at(DUE_S + 2 * LIFETIME_S)
    assert dated.codes() == ["E30"]


@pytest.mark.parametrize("state", [MessageState.EXPIRED, MessageState.DELIVERED])
def test_dated_read_without_an_answer_is_told_with_e30(dated, state):
    (command,) = dated.at(DUE_S)
    with dated.store.transaction() as tx:
        tx.device_messages.change(command.id, state, UtcSeconds(NOW.utc + DUE_S))
    dated.at(DUE_S + LIFETIME_S + HUB_PATIENCE_S)
    assert dated.codes() == ["E30"]


def test_dated_read_of_a_device_whose_certificate_is_gone_is_told_with_e20(dated):
    (dated.pki.path / f"{PPMID:016x}-ka.pem").unlink()
    assert dated.at(DUE_S) == ()
    assert dated.codes() == ["E20"]


def test_dated_read_of_a_device_that_came_back_as_one_that_nobody_reads_is_told_with_e20(dated):
    with dated.store.transaction() as tx:
        tx.devices.remove(PPMID)
        tx.devices.add(DeviceEntry(PPMID, DeviceType.IHD, NOW.utc))
    assert dated.at(DUE_S) == ()
    assert dated.codes() == ["E20"]


def test_dated_read_is_no_request_twice(dated):
    request = ReadFirmwareVersionRequest(REQUEST, int(NOW.utc + DUE_S))
    assert Desk(dated.store, dated.pki).take(request.to_bytes(), NOW).code.value == "E11"
    assert len(dated.at(DUE_S)) == 1
