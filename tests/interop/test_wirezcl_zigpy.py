"""zigpy's own command schemas read what an emulated device writes, and write what it reads."""

from __future__ import annotations

import pytest
from zigpy.zcl import foundation
from zigpy.zcl.clusters.general import Ota

from devices.wire import ota, zcl
from devices.wire.zcl import General, ZclFrame

IMAGE = ota.ImageId(0x121D, 0x0084, 0x01020304)
FROM_DEVICE = {definition.id: definition.schema for definition in Ota.ServerCommandDefs}
FROM_HUB = {definition.id: definition.schema for definition in Ota.ClientCommandDefs}


@pytest.mark.parametrize(
    ("command", "body", "fields"),
    [
        (0x01, ota.QueryNextImageRequest(IMAGE, 7), {"current_file_version": 0x01020304, "hardware_version": 7}),
        (0x01, ota.QueryNextImageRequest(IMAGE, None), {"image_type": 0x84, "hardware_version": None}),
        (0x03, ota.ImageBlockRequest(IMAGE, 100, 50), {"file_offset": 100, "maximum_data_size": 50}),
        (0x03, ota.ImageBlockRequest(IMAGE, 100, 50, 250), {"minimum_block_period": 250}),
        (0x04, ota.ImagePageRequest(IMAGE, 1, 50, 1024, 10), {"page_size": 1024, "response_spacing": 10}),
        (0x06, ota.UpgradeEndRequest(0x96, IMAGE), {"status": 0x96, "manufacturer_code": 0x121D}),
    ],
)
def test_zigpy_reads_what_the_device_writes(command, body, fields) -> None:
    octets = ZclFrame(9, command, body.to_bytes()).to_bytes()
    header, payload = foundation.ZCLHeader.deserialize(octets)
    assert (header.tsn, header.command_id) == (9, command)
    assert header.frame_control.frame_type is foundation.FrameType.CLUSTER_COMMAND
    assert header.direction == foundation.Direction.Client_to_Server
    read, rest = FROM_DEVICE[command].deserialize(payload)
    assert rest == b""
    assert {name: getattr(read, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("command", "fields", "parse", "expected"),
    [
        (
            0x00,
            {
                "payload_type": 3,
                "query_jitter": 40,
                "manufacturer_code": 0x121D,
                "image_type": 0x84,
                "new_file_version": 5,
            },
            ota.ImageNotify.from_bytes,
            ota.ImageNotify(40, 0x121D, 0x84, 5),
        ),
        (
            0x02,
            {
                "status": 0,
                "manufacturer_code": 0x121D,
                "image_type": 0x84,
                "file_version": 0x01020304,
                "image_size": 999,
            },
            ota.QueryNextImageResponse.from_bytes,
            ota.QueryNextImageResponse(0, IMAGE, 999),
        ),
        (
            0x05,
            {
                "status": 0,
                "manufacturer_code": 0x121D,
                "image_type": 0x84,
                "file_version": 0x01020304,
                "file_offset": 100,
                "image_data": b"abc",
            },
            ota.parse_image_block_response,
            ota.ImageBlock(IMAGE, 100, b"abc"),
        ),
        (
            0x05,
            {"status": 0x97, "current_time": 1, "request_time": 2, "minimum_block_period": 3},
            ota.parse_image_block_response,
            ota.WaitForData(1, 2, 3),
        ),
        (0x05, {"status": 0x95}, ota.parse_image_block_response, ota.BlockRefused(0x95)),
        (
            0x07,
            {
                "manufacturer_code": 0x121D,
                "image_type": 0x84,
                "file_version": 0x01020304,
                "current_time": 1,
                "upgrade_time": 0xFFFFFFFF,
            },
            ota.UpgradeEndResponse.from_bytes,
            ota.UpgradeEndResponse(IMAGE, 1, ota.WAIT_FOREVER),
        ),
    ],
)
def test_the_device_reads_what_zigpy_writes(command, fields, parse, expected) -> None:
    assert parse(FROM_HUB[command](**fields).serialize()) == expected


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
