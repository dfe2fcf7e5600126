"""A store of the last version with two records for each update is opened, and every update goes on where it was.

The rows are of a store that such a hub made: one device in mid-download, one parked, one held, one with its time given,
one that was offered the image.
"""

import json
import sqlite3

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64, format_eui64
from chf.image.header import ImageType, OtaHeader
from chf.image.image import parse_image
from chf.store import Store
from chf.store.inbox import Verb
from chf.store.schema import APPLICATION_ID, MIGRATIONS, migrate
from chf.update.model import DamagedRecord, TransferState, UpdateState
from chf.zcl import ota
from chf.zcl.frame import Frame, FrameType
from tests.support.damaged_store import sql
from tests.support.memory_radio import MemoryRadio, hub_on_desk

T0 = 1_800_000_000.0
# Manufacturer, image type and version as the device log of old had them: of the last query, and of the last read.
OLD_DEVICES = [(0x10D4, 1, 1), (0x10D4, 1, 1), (0x10D4, 9, 0xFFFF_FFFF), (0x10D4, 1, None), (None, None, 1)]
LOADING, PARKED, HELD, COMMITTED, OFFERED = DEVICES = [Eui64(0x00DB1234567890A0 + n) for n in range(5)]
IDS = (0x10D4, 1, 2)
BODY = bytes(range(200))
IMAGE = parse_image(
    OtaHeader(*IDS, bytes(32), 62 + len(BODY)).to_bytes() + b"\0\0" + len(BODY).to_bytes(4, "little") + BODY
)
SHA256 = "1219d0b87c45f172fc78c99b4020836976e7e21630e0e78bf5ad4b88e9680aa9"
OLD_VERSION = 4
OLD_ROWS = f"""
INSERT INTO jobs VALUES(1,'00-DB-12-34-56-78-90-A0','{SHA256}',2,'{{"kind": "now"}}','cli',1800000000.0,1800604800.0,1800000000.0,0,'downloading','',1,1,NULL,NULL,NULL,NULL,NULL,NULL,1800000000.0,NULL,NULL,'{{"aborts": 0, "activation": {{"kind": "now"}}, "allow_downgrade": false, "commit_delivered": false, "committed_utc": null, "downloaded": false, "endpoint": 3, "image_sha256": "{SHA256}", "job": "1", "peer": "00-DB-12-34-56-78-90-A0", "served_bytes": 200, "sleepy": false, "state": "downloading", "version": 1}}');
INSERT INTO jobs VALUES(2,'00-DB-12-34-56-78-90-A1','{SHA256}',2,'{{"kind": "at", "strategy": "park", "time_form": "relative", "utc": 1800036000.0}}','cli',1800000000.0,1800640800.0,1800000003.0,0,'waiting','',1,1,NULL,NULL,NULL,'time',1800036000.0,NULL,1800000001.2,NULL,NULL,'{{"aborts": 0, "activation": {{"kind": "at", "strategy": "park", "time_form": "relative", "utc": 1800036000.0}}, "allow_downgrade": false, "commit_delivered": false, "committed_utc": null, "downloaded": false, "endpoint": 3, "image_sha256": "{SHA256}", "job": "2", "peer": "00-DB-12-34-56-78-90-A1", "served_bytes": 250, "sleepy": false, "state": "parked", "version": 1}}');
INSERT INTO jobs VALUES(3,'00-DB-12-34-56-78-90-A2','{SHA256}',2,'{{"kind": "hold", "strategy": "hold"}}','cli',1800000000.0,1800604800.0,1800000013.8,0,'waiting','',1,1,'success',NULL,NULL,'command',NULL,NULL,1800000003.3,1800000013.8,NULL,'{{"aborts": 0, "activation": {{"kind": "hold", "strategy": "hold"}}, "allow_downgrade": false, "commit_delivered": false, "committed_utc": null, "downloaded": true, "endpoint": 3, "image_sha256": "{SHA256}", "job": "3", "peer": "00-DB-12-34-56-78-90-A2", "served_bytes": 262, "sleepy": false, "state": "held", "version": 1}}');
INSERT INTO jobs VALUES(4,'00-DB-12-34-56-78-90-A3','{SHA256}',2,'{{"kind": "at", "strategy": "hold", "time_form": "relative", "utc": 1800001800.0}}','cli',1800000000.0,1800606600.0,1800000014.1,0,'activating','',1,NULL,'success',NULL,NULL,NULL,NULL,1800001800.0,1800000005.4,1800000014.1,NULL,'{{"aborts": 0, "activation": {{"kind": "at", "strategy": "hold", "time_form": "relative", "utc": 1800001800.0}}, "allow_downgrade": false, "commit_delivered": true, "committed_utc": 1800001800.0, "downloaded": true, "endpoint": 3, "image_sha256": "{SHA256}", "job": "4", "peer": "00-DB-12-34-56-78-90-A3", "served_bytes": 262, "sleepy": false, "state": "committed", "version": 1}}');
INSERT INTO jobs VALUES(5,'00-DB-12-34-56-78-90-A4','{SHA256}',2,'{{"kind": "now"}}','cli',1800000000.0,1800604800.0,1800000000.0,0,'announced','',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{{"aborts": 0, "activation": {{"kind": "now"}}, "allow_downgrade": false, "commit_delivered": false, "committed_utc": null, "downloaded": false, "endpoint": null, "image_sha256": "{SHA256}", "job": "5", "peer": "00-DB-12-34-56-78-90-A4", "served_bytes": 0, "sleepy": false, "state": "offered", "version": 1}}');
"""


@pytest.fixture
def home(tmp_path):
    """A home directory with a store as the older program left it."""
    assert IMAGE.sha256 == SHA256
    connection = sqlite3.connect(tmp_path / "chf.db", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    migrate(connection, MIGRATIONS[:OLD_VERSION])
    connection.executescript(OLD_ROWS)
    connection.execute(
        "insert into images values (?, 'new', ?, ?, ?, ?, null, null, ?, ?, ?)",
        (SHA256, IMAGE.kind.value, *IDS, len(IMAGE.content), T0, IMAGE.content),
    )
    connection.executemany(
        "insert into devices values (?, 'PPMID', ?, 'joined', null, 3, ?, ?, ?, 4, ?, 0, ?, null, null, null)",
        [
            (format_eui64(device), bytes(16), T0 + 7, *told, T0)
            for device, told in zip(DEVICES, OLD_DEVICES, strict=True)
        ],
    )
    connection.close()
    return tmp_path


class HourLater:
    def now(self):
        return Now(Instant(100.0), UtcSeconds(T0 + 600))

    def instant(self):
        return Instant(100.0)


class Devices:
    def __init__(self, desk):
        self.desk, self.sequence = desk, 0

    def say(self, device, body):
        """The payloads of what was answered."""
        before = len(self.desk.radio.posted)
        self.sequence += 1
        self.desk.radio.says(device, ota.CLUSTER, ota.command(body, self.sequence))
        return [Frame.from_bytes(message.payload) for message in self.desk.radio.posted[before:]]

    def told(self, device, kind):
        sent = (m.payload for m in self.desk.radio.to_cluster(ota.CLUSTER) if m.destination == device)
        commands = (frame for frame in map(Frame.from_bytes, sent) if frame.frame_type is FrameType.CLUSTER)
        return [kind.from_bytes(frame.payload) for frame in commands if frame.command == kind.COMMAND]


def test_the_record_of_the_transfer_says_nothing_twice(home):
    with Store.open(home) as store:
        rows = store.updates.list()
        texts = [json.loads(row[0]) for row in sql(store.home, "select ota_session from updates order by id")]
    states = ["downloading", "parked", "held", "committed", "offered"]
    assert [update.record.state for update in rows] == [TransferState(state) for state in states]
    assert [update.record.served_bytes for update in rows] == [200, 250, 262, 262, 0]
    assert rows[3].record.committed_utc == T0 + 1800
    assert texts == [update.record.to_json() for update in rows]


def test_what_each_device_told_is_of_the_type_that_it_named_and_an_update_is_of_its_files(home):
    sql(home, "update jobs set version_seen = 4294967295 where id = 3")
    made_for, another = ImageType(*IDS[:2]), ImageType(IDS[0], 9)
    with Store.open(home) as store:
        told = [[(image.image_type, image.file_version) for image in entry.images] for entry in store.devices.list()]
        assert told == [[(made_for, 1)], [(made_for, 1)], [(another, None)], [(made_for, None)], []]
        first = store.devices.get(LOADING).images[0]
        assert (first.hardware_version, first.since) == (4, T0 + 7)
        rows = store.updates.list()
    assert [(row.image_type, row.doubt, row.successor) for row in rows] == [(made_for, "", None)] * 5
    assert [row.version_seen for row in rows] == [1, 1, None, None, None], "0xFFFFFFFF is no version"


async def test_every_update_of_an_older_store_goes_on(home):
    with Store.open(home, hub=True) as store:
        async with hub_on_desk(store, MemoryRadio(), clock=HourLater()) as desk:
            devices, state = Devices(desk), lambda number: store.updates.get(number).state
            await desk.until(lambda: devices.told(OFFERED, ota.ImageNotify))
            assert devices.told(HELD, ota.UpgradeEndResponse)[-1].upgrade_time == ota.WAIT_FOR_COMMAND
            assert devices.told(COMMITTED, ota.UpgradeEndResponse) == [], "it has its time"
            assert devices.told(LOADING, ota.ImageNotify) == [], "it may ask any moment"

            (answer,) = devices.say(LOADING, ota.ImageBlockRequest(*IDS, 200, 50))
            assert ota.parse_image_block_response(answer.payload).data == IMAGE.content[200:250]
            devices.say(LOADING, ota.ImageBlockRequest(*IDS, 250, 50))
            (answer,) = devices.say(LOADING, ota.UpgradeEndRequest(0, *IDS))
            assert ota.UpgradeEndResponse.from_bytes(answer.payload).upgrade_time == 0
            assert state(1) is UpdateState.ACTIVATING

            (answer,) = devices.say(PARKED, ota.ImageBlockRequest(*IDS, 250, 50))
            assert isinstance(ota.parse_image_block_response(answer.payload), ota.WaitForData)
            assert state(2) is UpdateState.WAITING

            with store.transaction() as tx:
                tx.inbox.submit(Verb.UPDATE_ACTIVATE, {"update": 3, "activation": {"kind": "now"}}, T0)
            await desk.until(lambda: devices.told(HELD, ota.UpgradeEndResponse)[-1].upgrade_time == 0)
            assert state(3) is UpdateState.ACTIVATING

            devices.say(COMMITTED, ota.QueryNextImageRequest(*IDS))
            assert state(4) is UpdateState.ACTIVATED
            assert [alert.outcome for alert in store.alerts.list()] == ["success"], "that of the first; one each"


async def test_a_record_that_cannot_be_read_harms_only_its_transfer(home):
    with Store.open(home, hub=True) as store:
        sql(home, "update updates set ota_session = '{\"state\": 7}' where id = 2")
        assert isinstance(store.updates.get(2).record, DamagedRecord)
        async with hub_on_desk(store, MemoryRadio(), clock=HourLater()) as desk:
            devices = Devices(desk)
            await desk.until(lambda: devices.told(OFFERED, ota.ImageNotify))
            alarms = [event for event in desk.told if "cannot be taken up" in str(event.fields.get("reason"))]
            assert [(event.update, event.device) for event in alarms] == [(2, PARKED)]
            with store.transaction() as tx:
                tx.inbox.submit(Verb.UPDATE_CANCEL, {"update": 2}, T0)
            await desk.until(lambda: store.updates.get(2).state is UpdateState.CANCELLED)
            assert store.updates.get(1).state is UpdateState.DOWNLOADING
