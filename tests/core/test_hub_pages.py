"""Page requests on the hub: what carries them on after their first block."""

from chf.eui64 import parse_eui64
from chf.image.image import parse_image
from chf.store import Store
from chf.update.model import UpdateState
from chf.zcl import ota
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

DEVICE = parse_eui64("00-DB-12-34-56-78-90-A4")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")


async def test_the_rest_of_a_page_is_planned_with_its_first_block(tmp_path):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as store:
        on_the_network(store, DEVICE)
        order_update(store, image, DEVICE)
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
            desk.radio.says(DEVICE, ota.CLUSTER, QUERY)
            header = image.header
            ids = header.manufacturer_code.to_bytes(2, "little") + header.image_type.to_bytes(2, "little")
            ids += header.file_version.to_bytes(4, "little")
            page = bytes(4) + bytes((40,)) + (400).to_bytes(2, "little") + bytes(2)  # offset, block, page, spacing
            asked = bytes((1, 2, ota.ImagePageRequest.COMMAND)) + b"\0" + ids + page
            desk.radio.says(DEVICE, ota.CLUSTER, asked)
            await desk.until(lambda: len(blocks(desk)) == 10)
            assert b"".join(block[17:] for block in blocks(desk)) == image.content[:400]


def blocks(desk):
    payloads = [message.payload for message in desk.radio.to_cluster(ota.CLUSTER)]
    return [payload for payload in payloads if payload[2] == ota.ImageBlock.COMMAND and payload[3] == 0]
