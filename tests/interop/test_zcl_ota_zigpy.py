"""zigpy reads the OTA frames that we write, and we read those that it writes."""

import pytest
import zigpy.types as t
from zigpy.zcl import foundation
from zigpy.zcl.clusters import general

from chf.zcl import ota as zcl
from chf.zcl.frame import Frame

FROM_SERVER = general.Ota.ClientCommandDefs
FROM_CLIENT = general.Ota.ServerCommandDefs
IDS = {"manufacturer_code": 0x10D8, "image_type": 4}
NODE = 0x00DB1234567890A4


def command_of(definitions, number):
    return next(definition for definition in definitions if definition.id == number)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (zcl.ImageNotify(), {"query_jitter": 100}),
        (zcl.ImageNotify(50, 0x10D8, 4, 2), {"query_jitter": 50, **IDS, "new_file_version": 2}),
        (
            zcl.QueryNextImageResponse(0, zcl.ImageFound(0x10D8, 4, 2, 1000)),
            {"status": 0, **IDS, "file_version": 2, "image_size": 1000},
        ),
        (zcl.QueryNextImageResponse(0x98), {"status": 0x98}),
        (
            zcl.ImageBlock(0x10D8, 4, 2, 100, b"abc"),
            {"status": 0, **IDS, "file_version": 2, "file_offset": 100, "image_data": b"abc"},
        ),
        (
            zcl.WaitForData(0, 1800, 7),
            {"status": 0x97, "current_time": 0, "request_time": 1800, "minimum_block_period": 7},
        ),
        (zcl.BlockRefused(0x95), {"status": 0x95}),
        (
            zcl.UpgradeEndResponse(0x10D8, 4, 2, 0, zcl.WAIT_FOR_COMMAND),
            {**IDS, "file_version": 2, "current_time": 0, "upgrade_time": 0xFFFFFFFF},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_zigpy_reads_what_a_server_says(body, fields):
    octets = zcl.command(body, 0xA5)
    header, payload = foundation.ZCLHeader.deserialize(octets)
    assert (header.tsn, header.command_id) == (0xA5, body.COMMAND)
    assert header.direction == foundation.Direction.Server_to_Client
    read, rest = command_of(FROM_SERVER, body.COMMAND).schema.deserialize(payload)
    assert rest == b""
    for name, value in fields.items():
        assert getattr(read, name) == value, name


@pytest.mark.parametrize(
    ("number", "fields", "body"),
    [
        (
            1,
            {"field_control": 1, **IDS, "current_file_version": 1, "hardware_version": 2},
            zcl.QueryNextImageRequest(0x10D8, 4, 1, 2),
        ),
        (
            3,
            {"field_control": 0, **IDS, "file_version": 2, "file_offset": 100, "maximum_data_size": 50},
            zcl.ImageBlockRequest(0x10D8, 4, 2, 100, 50),
        ),
        (
            3,
            {
                "field_control": 3,
                **IDS,
                "file_version": 2,
                "file_offset": 100,
                "maximum_data_size": 50,
                "request_node_addr": t.EUI64.convert("00:db:12:34:56:78:90:a4"),
                "minimum_block_period": 250,
            },
            zcl.ImageBlockRequest(0x10D8, 4, 2, 100, 50, NODE, 250),
        ),
        (
            4,
            {
                "field_control": 0,
                **IDS,
                "file_version": 2,
                "file_offset": 0,
                "maximum_data_size": 32,
                "page_size": 1024,
                "response_spacing": 50,
            },
            zcl.ImagePageRequest(0x10D8, 4, 2, 0, 32, 1024, 50),
        ),
        (6, {"status": 0, **IDS, "file_version": 2}, zcl.UpgradeEndRequest(0, 0x10D8, 4, 2)),
    ],
)
def test_we_read_what_zigpys_client_would_say(number, fields, body):
    schema = command_of(FROM_CLIENT, number).schema
    octets = bytes((0x01, 0xA5, number)) + schema(**fields).serialize()
    assert zcl.parse_request(Frame.from_bytes(octets)) == body
    assert body.to_bytes() == octets[3:]
