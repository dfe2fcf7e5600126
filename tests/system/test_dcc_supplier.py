"""A supplier's whole story in real XML: hub, DCC side and devices as programs, which die and come back."""

import re
import signal
import socket
from base64 import b64decode
from contextlib import ExitStack

import pytest

from chf.clock import SystemClock
from chf.duis import RequestId, ServiceReference, UpdateFirmwareRequest
from chf.duis.device_request import ActivateFirmwareRequest, ReadFirmwareVersionRequest, SignedPreCommandRequest
from chf.eui64 import parse_eui64
from chf.gbcs import GbcsMessage, ReadFirmwareVersionResponse, parse_payload, sign
from chf.image.image import parse_image
from chf.pki.certificates import Usage
from chf.pki.gbcs import DEFAULT_ACB, DEFAULT_SUPPLIER
from chf.store.device_log import DeviceType
from chf.store.device_messages import MessageState
from tests.support.dcc_bench import duis_schema
from tests.support.programs import Bench, bench, commanded, image_file, quick, signed_image_file
from tests.support.supplier import ReceiveAddress, Serving, received, serving, signed_by
from tests.support.virtual_dongle import EUI64

pytestmark = pytest.mark.timeout(180)

HCALCS, PPMID = "00-DB-12-34-56-78-90-A5", EUI64
HCALCS_TYPE = 0x0085
EAGER = "[delivery]\nfirst_pause_s = 0.05\nlongest_pause_s = 0.5\ntimeout_s = 2.0\n"


class Supplier:
    """Signs with the test PKI's supplier key, counts its requests, and reads what it is sent."""

    def __init__(self, desk: Bench, address: ReceiveAddress) -> None:
        self.desk, self.address = desk, address
        self.counter = int(SystemClock().now().utc * 1000)

    def request_id(self, target: str | None = None) -> RequestId:
        self.counter += 1
        return RequestId(DEFAULT_SUPPLIER, DEFAULT_ACB if target is None else parse_eui64(target), self.counter)

    def ask(self, dcc: Serving, request, service: str) -> dict[str, str]:
        """The fields of the answer."""
        status, reason, body = dcc.post(signed_by(self.desk.pki, DEFAULT_SUPPLIER, request.to_bytes()), service)
        assert status == 200, (status, body)
        answer = received(body, self.desk.pki).fields
        return answer | {"reason": reason}

    def activate(self, dcc: Serving, image: bytes, when: int | None = None) -> RequestId:
        """SR 11.3: transform, sign, send."""
        request_id = self.request_id(HCALCS)
        digest = bytes.fromhex(parse_image(image).manufacturer_image_hash)
        answer = self.ask(dcc, ActivateFirmwareRequest(request_id, digest, when), "serviceT")
        assert answer["ResponseCode"] == "I0", answer
        command = GbcsMessage.from_bytes(b64decode(answer["GBCSPayload"]))
        signed = sign(command, self.desk.pki.private_key(DEFAULT_SUPPLIER, Usage.DIGITAL_SIGNATURE))
        sent = self.ask(dcc, SignedPreCommandRequest(request_id, signed.to_bytes(), when), "serviceS")
        assert sent["ResponseCode"] == "I99", sent
        return request_id

    def got(self, kind: str, **fields: str) -> list[dict[str, str]]:
        """Of what the address has taken, repeats left out; each valid against the schema."""
        documents = self.address.once_each()
        for document in documents:
            duis_schema().check(document)
        found = [received(document, self.desk.pki) for document in documents]
        return [item.fields for item in found if item.kind == kind and fields.items() <= item.fields.items()]

    def until(self, kind: str, count: int = 1, **fields: str) -> list[dict[str, str]]:
        self.desk.until(lambda: len(self.got(kind, **fields)) >= count, f"{count} {kind} {fields}", 60.0)
        return self.got(kind, **fields)


def update(service: ServiceReference, request_id: RequestId, image: bytes, *devices: str) -> UpdateFirmwareRequest:
    return UpdateFirmwareRequest(service, request_id, image, "00000002", tuple(map(parse_eui64, devices)))


def test_a_supplier_updates_both_kinds_of_device_while_everything_else_dies_and_comes_back(tmp_path):
    key = f"home/pki/{parse_eui64(PPMID):016x}-ds.key"
    scenario = commanded("hcalcs", HCALCS, image_type=HCALCS_TYPE) + "\n" + quick(PPMID, signing_key=key)
    address = ReceiveAddress()
    address.up()
    with bench(tmp_path, scenario, issue=[HCALCS, PPMID]) as desk, ExitStack() as address_down:
        address_down.callback(address.down)
        supplier = Supplier(desk, address)
        desk.start_hub()
        desk.admit(HCALCS, device_type=DeviceType.HCALCS)
        desk.admit(PPMID)
        config = tmp_path / "dcc.toml"
        config.write_text(EAGER)
        options = ("--receive-url", address.url, "--config", str(config), "--signers", str(desk.pki.path))
        signed_image = signed_image_file(tmp_path / "s.ota", desk.pki, image_type=HCALCS_TYPE).read_bytes()
        plain_image = image_file(tmp_path / "p.ota").read_bytes()

        with serving(desk.home, *options) as dcc:
            address.down()  # and nothing gets through for a while
            first = update(ServiceReference.UPDATE_FIRMWARE, supplier.request_id(), signed_image, HCALCS)
            second = update(ServiceReference.UPDATE_PPMID_FIRMWARE, supplier.request_id(), plain_image, PPMID)
            assert supplier.ask(dcc, first, "serviceD")["ResponseCode"] == "I99"
            assert supplier.ask(dcc, second, "serviceD")["ResponseCode"] == "I99"
            assert supplier.ask(dcc, second, "serviceD")["ResponseCode"] == "E11", "a replay"
            desk.until(lambda: desk.store.uplink.waiting() >= 2, "documents that wait")
            dcc.kill()
        desk.kill_hub()
        desk.start_hub()

        address.plan = [500, 503, "hang up", 200, 302, "swallow"]
        address.up()
        with serving(desk.home, *options) as dcc:
            supplier.until("CSPFirmwareDeliveryStatus", 2, CommsHubTransferStatus="Success", DCCAlertCode="N60")
            requests = {item["UpdateFirmwareRequestID"] for item in supplier.got("CSPFirmwareDeliveryStatus")}
            assert requests == {str(first.request_id), str(second.request_id)}
            supplier.until("CommsHubAlert", 2, TransferResponseCode="FileTransferSuccess")
            supplier.until("PPMIDAlert", ActivateImageResultCode="ActivationSuccess", FirmwareVersion="00000002")
            supplier.until("DeviceAlertMessage", AlertCode="8F72")
            assert address.plan == []

            when = int(SystemClock().now().utc) + 5
            dated = supplier.activate(dcc, signed_image, when)
            supplier.until("ResponseMessage", RequestID=str(dated), ResponseCode="I0")
            dcc.kill()
        with serving(desk.home, *options) as dcc:
            (outcome,) = supplier.until("FutureDatedDeviceAlertMessage", RequestID=str(dated))
            assert outcome["FutureDatedAlertCode"] == "8F66"
            read = ReadFirmwareVersionRequest(supplier.request_id(HCALCS))
            assert supplier.ask(dcc, read, "serviceS")["ResponseCode"] == "I99"
            (answer,) = supplier.until("ResponseMessage", RequestID=str(read.request_id))
            told = parse_payload(GbcsMessage.from_bytes(b64decode(answer["GBCSPayload"])))
            assert isinstance(told, ReadFirmwareVersionResponse)
            assert told.firmware_version == 2
            desk.until(lambda: desk.store.uplink.waiting() == 0, "every document to be taken")
            dcc.process.send_signal(signal.SIGTERM)
            assert dcc.process.wait(10) == 0

        assert len(address.taken) > len(address.once_each()), "the one whose answer was lost came again"
        ids = [document.msg_id for document in desk.store.uplink.list()]
        assert len(ids) == len(set(ids)) == len(address.once_each())


def test_a_supplier_is_told_of_a_command_that_its_device_never_took(tmp_path):
    """The device has no power; the command's time is over; the supplier is told once, over a killed hub and DCC side."""
    address = ReceiveAddress()
    address.up()
    with bench(tmp_path, commanded("hcalcs", HCALCS), issue=[HCALCS]) as desk, ExitStack() as address_down:
        address_down.callback(address.down)
        supplier = Supplier(desk, address)
        desk.start_hub()
        desk.admit(HCALCS, device_type=DeviceType.HCALCS)
        desk.dongle.command(do="power_off", eui64=HCALCS)
        config = tmp_path / "dcc.toml"
        config.write_text(EAGER + "[policy]\ndevice_message_lifetime_s = 3.0\n")
        options = ("--receive-url", address.url, "--config", str(config))
        with serving(desk.home, *options) as dcc:
            read = ReadFirmwareVersionRequest(supplier.request_id(HCALCS))
            assert supplier.ask(dcc, read, "serviceS")["ResponseCode"] == "I99"
            dcc.kill()
        desk.kill_hub()
        desk.start_hub()
        desk.until(lambda: desk.store.device_messages.list()[0].state is MessageState.EXPIRED, "its time to be over")
        address.plan = ["swallow"]
        with serving(desk.home, *options) as dcc:
            (told,) = supplier.until("ResponseMessage", RequestID=str(read.request_id))
            assert told["ResponseCode"] == "E20"
            desk.until(lambda: desk.store.uplink.waiting() == 0, "it to be taken")
            dcc.kill()
        config.write_text(EAGER)
        with serving(desk.home, *options) as dcc:
            desk.dongle.command(do="power_on", eui64=HCALCS)
            again = ReadFirmwareVersionRequest(supplier.request_id(HCALCS))
            assert supplier.ask(dcc, again, "serviceS")["ResponseCode"] == "I99"
            supplier.until("ResponseMessage", RequestID=str(again.request_id), ResponseCode="I0")
        assert len(supplier.got("ResponseMessage", RequestID=str(read.request_id))) == 1
        assert len(address.taken) == 3, "the first came again, because its answer was lost"


def test_a_hub_that_is_the_dcc_side_as_well(tmp_path):
    """`chf run --dcc`: one process takes the request, updates the device, posts what came of it, and ends in good order."""
    key = f"home/pki/{parse_eui64(PPMID):016x}-ds.key"
    address = ReceiveAddress()
    address.up()
    with bench(tmp_path, quick(PPMID, signing_key=key), issue=[PPMID]) as desk, ExitStack() as address_down:
        address_down.callback(address.down)
        supplier = Supplier(desk, address)
        signers = ("--dcc-signers", str(desk.pki.path))
        desk.start_hub("--dcc", "127.0.0.1:0", "--dcc-receive-url", address.url, *signers)
        desk.admit(PPMID)
        (listens,) = re.findall(r"the DCC side listens at http://([0-9.:]+)/api/v1", desk.log.read_text())
        dcc = Serving(desk.hub, listens)
        image = image_file(tmp_path / "p.ota").read_bytes()
        unsigned = update(ServiceReference.UPDATE_PPMID_FIRMWARE, supplier.request_id(), image, PPMID)
        assert received(dcc.post(unsigned.to_bytes(), "serviceD")[2], desk.pki).fields["ResponseCode"] == "E1"
        request = update(ServiceReference.UPDATE_PPMID_FIRMWARE, supplier.request_id(), image, PPMID)
        assert supplier.ask(dcc, request, "serviceD")["ResponseCode"] == "I99"
        supplier.until("CSPFirmwareDeliveryStatus", DCCAlertCode="N60")
        supplier.until("PPMIDAlert", ActivateImageResultCode="ActivationSuccess")
        assert desk.stop_hub() == 0
        assert "Traceback" not in desk.log.read_text()


def test_a_hub_whose_dcc_side_cannot_listen_does_not_start(tmp_path):
    with bench(tmp_path, quick(PPMID)) as desk, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = desk.chf("run", "--port", desk.dongle.port, "--dcc", f"127.0.0.1:{port}", code=2)
        assert f"cannot listen on 127.0.0.1:{port}" in ran.err
        ran = desk.chf("run", "--port", desk.dongle.port, "--dcc-receive-url", "http://127.0.0.1:1/", code=2)
        assert "want --dcc" in ran.err
