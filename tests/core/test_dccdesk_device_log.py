"""The desk and the device log: SR 8.11, which lets a device in or takes it out. Every refusal by name."""

from dataclasses import replace

import pytest

from chf.crypto.install_code import link_key, with_crc
from chf.dcc.smi import Smi
from chf.duis.device_request import AddToDeviceLog, UpdateHanDeviceLogRequest
from chf.eui64 import format_eui64
from chf.store import DeviceStatus, DeviceType, Store
from chf.store.inbox import Verb
from tests.support.dcc_bench import CHF, ESME, NOW, PPMID, STRANGER
from tests.support.desk_bench import D, S, desk_bench, known, to


@pytest.fixture
def bench(tmp_path):
    with desk_bench(tmp_path) as made:
        yield made


CODE = bytes.fromhex("30313233343536373839414243444546")


def han(device=STRANGER, add=AddToDeviceLog(90, CODE), counter=1000, target=CHF, when=None):  # noqa: B008
    return UpdateHanDeviceLogRequest(to(target, counter), device, add, when)


@pytest.mark.parametrize("address", [D, S])
def test_desk_adds_a_device_and_opens_the_join_window(bench, address):
    Smi(bench.home).put(known(STRANGER))
    answer = bench.ask(han(), address)
    assert answer.code.value == "I99"
    entry = bench.store.devices.get(STRANGER)
    assert (entry.device_type, entry.status) == (DeviceType.PPMID, DeviceStatus.PENDING)
    assert entry.install_code_link_key == link_key(with_crc(CODE))
    (command,) = bench.store.inbox.pending()
    assert (command.verb, int(command.body["seconds"])) == (Verb.DEVICE_PERMIT, 90)


def test_desk_adds_a_pending_device_again_with_its_new_code(bench):
    Smi(bench.home).put(known(STRANGER))
    bench.ask(han())
    bench.ask(han(add=AddToDeviceLog(60, bytes(16)), counter=1001))
    assert bench.store.devices.get(STRANGER).install_code_link_key == link_key(with_crc(bytes(16)))


def test_desk_sees_what_the_hub_wrote_before_it_could_write_itself(bench, monkeypatch):
    """A row that was read before the transaction would be written back as it was, and the device never have joined."""
    Smi(bench.home).put(known(STRANGER))
    bench.ask(han())
    transaction = bench.store.transaction

    def after_the_hub():
        monkeypatch.setattr(bench.store, "transaction", transaction)
        with Store.open(bench.home) as hub, hub.transaction() as tx:
            tx.devices.update(replace(tx.devices.get(STRANGER), status=DeviceStatus.JOINED))
        return transaction()

    monkeypatch.setattr(bench.store, "transaction", after_the_hub)
    answer = bench.ask(han(add=AddToDeviceLog(60, bytes(16)), counter=1001))
    assert (answer.code.value, bench.store.devices.get(STRANGER).status) == ("E5", DeviceStatus.JOINED)


def test_desk_removes_a_device_by_the_hub(bench):
    assert bench.ask(han(PPMID, add=None)).code.value == "I99"
    (command,) = bench.store.inbox.pending()
    assert (command.verb, command.body) == (Verb.DEVICE_FORGET, {"device": format_eui64(PPMID)})


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (han(), "E19"),  # not in the inventory
        (han(PPMID), "E5"),  # has joined
        (han(STRANGER, add=None), "E19"),
        (han(PPMID, add=None, target=ESME), "E19"),  # not this hub
        (han(PPMID, add=None, when=int(NOW.utc) + 60), "E11"),
    ],
)
def test_desk_device_log_refusals(bench, request_, code):
    assert bench.ask(request_).code.value == code
    assert bench.store.inbox.pending() == ()


def test_desk_never_tells_an_install_code(bench):
    request = han()
    assert CODE.hex().upper() not in repr(request)
    assert repr(CODE) not in repr(request)
    answer = bench.ask(None, document=request.to_bytes().replace(b"3031", b"303x"))
    assert "303x" not in answer.reason
    assert "324344" not in "".join(record.event.to_json() for record in bench.store.audit.tail())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">90<", ">3601<"),
        (">90<", ">0<"),
        ("Add<", "Put<"),
        ("Add<", "Remove<"),
        ("-FF<", "<"),
        ("3031", "30"),
        ("<sr:JoinTimePeriod>90</sr:JoinTimePeriod>", ""),
        ("</sr:DeviceID>", "</sr:DeviceID><sr:DeviceID>00-DB-12-34-56-78-90-A4</sr:DeviceID>"),
    ],
)
def test_desk_reads_a_device_log_request_strictly(bench, old, new):
    Smi(bench.home).put(known(STRANGER))
    text = han().to_bytes().decode()
    assert old in text
    assert bench.ask(None, document=text.replace(old, new).encode()).code.value == "E11"
    assert bench.store.devices.get(STRANGER) is None
