"""zigpy reads the OTA frames of both codecs, the hub's and the emulated devices', and both read what zigpy writes."""

from types import ModuleType
from typing import Any

import pytest
import zigpy.types as t
from zigpy.zcl import foundation
from zigpy.zcl.clusters.general import Ota

from chf.zcl import ota as hub
from devices.wire import ota as device
from devices.wire import zcl
from devices.wire.zcl import General, ZclFrame

IDS = {"manufacturer_code": 0x10D8, "image_type": 4}
NEW = {**IDS, "file_version": 2}
BLOCK = {**NEW, "file_offset": 100, "maximum_data_size": 50}
PAGE = {**NEW, "file_offset": 0, "maximum_data_size": 32, "page_size": 1024, "response_spacing": 50}
IMAGE, NODE = device.ImageId(0x10D8, 4, 2), 0x00DB1234567890A4
SCHEMAS = {definition.id: definition.schema for definition in (*Ota.ServerCommandDefs, *Ota.ClientCommandDefs)}
REQUESTS = {definition.id for definition in Ota.ServerCommandDefs}

MESSAGES: dict[str, tuple[int, dict[str, Any], Any, Any]] = {
    "notify": (0, {"payload_type": 0, "query_jitter": 100}, hub.ImageNotify(), device.ImageNotify(100)),
    "notify of a version": (
        0,
        {"payload_type": 3, "query_jitter": 50, **IDS, "new_file_version": 2},
        hub.ImageNotify(50, 0x10D8, 4, 2),
        device.ImageNotify(50, 0x10D8, 4, 2),
    ),
    "query": (
        1,
        {"field_control": 0, **IDS, "current_file_version": 2},
        hub.QueryNextImageRequest(0x10D8, 4, 2),
        device.QueryNextImageRequest(IMAGE, None),
    ),
    "query with hardware": (
        1,
        {"field_control": 1, **IDS, "current_file_version": 2, "hardware_version": 7},
        hub.QueryNextImageRequest(0x10D8, 4, 2, 7),
        device.QueryNextImageRequest(IMAGE, 7),
    ),
    "image": (
        2,
        {"status": 0, **NEW, "image_size": 1000},
        hub.QueryNextImageResponse(0, hub.ImageFound(0x10D8, 4, 2, 1000)),
        device.QueryNextImageResponse(0, IMAGE, 1000),
    ),
    "no image": (2, {"status": 0x98}, hub.QueryNextImageResponse(0x98), device.QueryNextImageResponse(0x98)),
    "block request": (
        3,
        {"field_control": 0, **BLOCK},
        hub.ImageBlockRequest(0x10D8, 4, 2, 100, 50),
        device.ImageBlockRequest(IMAGE, 100, 50),
    ),
    "block request with a period": (
        3,
        {"field_control": 2, **BLOCK, "minimum_block_period": 250},
        hub.ImageBlockRequest(0x10D8, 4, 2, 100, 50, None, 250),
        device.ImageBlockRequest(IMAGE, 100, 50, 250),
    ),
    "block request with everything": (
        3,
        {
            "field_control": 3,
            **BLOCK,
            "request_node_addr": t.EUI64.convert("00:db:12:34:56:78:90:a4"),
            "minimum_block_period": 250,
        },
        hub.ImageBlockRequest(0x10D8, 4, 2, 100, 50, NODE, 250),
        device.ImageBlockRequest(IMAGE, 100, 50, 250, node=NODE),
    ),
    "page request": (
        4,
        {"field_control": 0, **PAGE},
        hub.ImagePageRequest(0x10D8, 4, 2, 0, 32, 1024, 50),
        device.ImagePageRequest(IMAGE, 0, 32, 1024, 50),
    ),
    "block": (
        5,
        {"status": 0, **NEW, "file_offset": 100, "image_data": b"abc"},
        hub.ImageBlock(0x10D8, 4, 2, 100, b"abc"),
        device.ImageBlock(IMAGE, 100, b"abc"),
    ),
    "wait": (
        5,
        {"status": 0x97, "current_time": 0, "request_time": 1800, "minimum_block_period": 7},
        hub.WaitForData(0, 1800, 7),
        device.WaitForData(0, 1800, 7),
    ),
    "block refused": (5, {"status": 0x95}, hub.BlockRefused(0x95), device.BlockRefused(0x95)),
    "end": (
        6,
        {"status": 0x96, **NEW},
        hub.UpgradeEndRequest(0x96, 0x10D8, 4, 2),
        device.UpgradeEndRequest(0x96, IMAGE),
    ),
    "end response": (
        7,
        {**NEW, "current_time": 0, "upgrade_time": 0xFFFFFFFF},
        hub.UpgradeEndResponse(0x10D8, 4, 2, 0, hub.WAIT_FOR_COMMAND),
        device.UpgradeEndResponse(IMAGE, 0, device.WAIT_FOREVER),
    ),
}


@pytest.mark.parametrize("codec", [hub, device], ids=["hub", "device"])
@pytest.mark.parametrize("name", MESSAGES)
def test_zigpy_writes_what_we_read_and_reads_what_we_write(name: str, codec: ModuleType) -> None:
    number, fields, of_hub, of_device = MESSAGES[name]
    body = of_hub if codec is hub else of_device
    if body is None:
        return
    octets = SCHEMAS[number](**fields).serialize()
    parse = codec.parse_image_block_response if number == 5 else type(body).from_bytes
    assert (parse(octets), body.to_bytes()) == (body, octets)
    read, rest = SCHEMAS[number].deserialize(octets)
    assert ({name: getattr(read, name) for name in fields}, rest) == (fields, b"")


@pytest.mark.parametrize("name", MESSAGES)
def test_zigpy_reads_the_headers_of_both(name: str) -> None:
    number, _, body, _ = MESSAGES[name]
    to_client = number not in REQUESTS
    for frame in (hub.command(body, 0xA5), ZclFrame(0xA5, number, body.to_bytes(), from_server=to_client).to_bytes()):
        header, payload = foundation.ZCLHeader.deserialize(frame)
        assert (header.tsn, header.command_id, payload) == (0xA5, number, body.to_bytes())
        assert header.frame_control.frame_type is foundation.FrameType.CLUSTER_COMMAND
        direction = foundation.Direction.Server_to_Client if to_client else foundation.Direction.Client_to_Server
        assert header.direction == direction


def test_zigpy_reads_the_attributes_that_the_device_answers_with() -> None:
    attributes = (
        zcl.Attribute(2, zcl.DataType.UINT32, 0x01020304),
        zcl.Attribute(6, zcl.DataType.ENUM8, 3),
        zcl.Attribute(0, zcl.DataType.EUI64, 0x1122334455667788),
        zcl.Attribute(5, zcl.DataType.CHARACTER_STRING, "PPMID"),
    )
    payload = b"".join(zcl.attribute_record(each.identifier, each) for each in attributes)
    payload += zcl.attribute_record(0x77, None)
    frame = ZclFrame(1, General.READ_ATTRIBUTES_RESPONSE, payload, cluster_specific=False, from_server=True)
    header, rest = foundation.ZCLHeader.deserialize(frame.to_bytes())
    assert header.direction == foundation.Direction.Server_to_Client
    schema = foundation.GENERAL_COMMANDS[foundation.GeneralCommand.Read_Attributes_rsp].schema
    answer, left = schema.deserialize(rest)
    assert left == b""
    records = {record.attrid: record for record in answer.status_records}
    assert records[2].value.value == 0x01020304
    assert records[6].value.value == 3
    assert records[0].value.value.serialize() == (0x1122334455667788).to_bytes(8, "little")
    assert records[5].value.value == "PPMID"
    assert records[0x77].status == foundation.Status.UNSUPPORTED_ATTRIBUTE
