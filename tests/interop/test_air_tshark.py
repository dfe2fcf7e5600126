"""tshark, which shares no line with us, reads captures of whole networks: every layer decodes and decrypts."""

import struct
import subprocess

import pytest

from devices.medium.medium import MediumSettings
from devices.stack.interface import Eui64
from devices.wire.pcap import PcapWriter, write_zigbee_pc_keys
from tests.support.air import DEVICE_IEEE, LINK_KEY, NETWORK_KEY, Air, to_device, to_hub
from tests.support.air_capture import tshark

pytestmark = pytest.mark.needs_tshark


def record(air: Air, path):
    stream = path.open("wb")
    air.medium.taps.append(PcapWriter(stream, epoch_s=1_700_000_000.0).write)
    return stream


def read(pcap, *arguments: str, keys: tuple[bytes, ...] = (NETWORK_KEY, LINK_KEY)) -> str:
    options = [word for key in keys for word in ("-o", f'uat:zigbee_pc_keys:"{key.hex(":")}","Normal","k"')]
    command = [tshark(), *options, "-r", str(pcap), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def problems(pcap, **options) -> str:
    fields = ["-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message", "-e", "_ws.col.info"]
    return read(pcap, "-Y", "_ws.expert || _ws.malformed || wpan.fcs_ok == 0", *fields, **options)


def block_response(data: bytes) -> bytes:
    return struct.pack("<BBBBHHIIB", 0x19, 1, 5, 0, 0x1234, 1, 7, 0, len(data)) + data


def block_request() -> bytes:
    return struct.pack("<BBBBHHIIB", 0x01, 1, 3, 0, 0x1234, 1, 7, 0, 56)


def tunnelled(length: int) -> bytes:
    """Tunneling TransferData from the server with a recognisable filling."""
    return b"\x09\x02\x01\x00\x00" + bytes(index * 7 & 0xFF for index in range(length - 5))


def whole_story(air: Air):
    """Join, data in every form, rejoin, leave: each kind of frame that the stack makes."""
    device, _ = air.join()
    sleepy, _ = air.join(Eui64(DEVICE_IEEE + 1), poll_interval_s=2.0)
    air.coordinator.send(to_device(device, block_response(bytes(56))))
    device.send(to_hub(block_request()))
    device.send(to_hub(tunnelled(200), cluster=0x0704))
    air.coordinator.send(to_device(device, tunnelled(250), cluster=0x0704))
    air.coordinator.send(to_device(sleepy, block_response(bytes(43))))
    device.match_descriptor(0x0109, (0x0019,), lambda _endpoints: None)
    for cluster, body in (
        (0x0002, b"\0\0"),
        (0x0004, b"\0\0\3"),
        (0x0005, b"\0\0"),
        (0x0031, b"\0"),
        (0x0001, bytes(4)),
    ):
        Air.send_zdp(device, 0, cluster, body)
        air.run(0.1)
    air.run(3.0)
    device.power_off()
    device.power_on()
    air.run(5.0)
    air.coordinator.remove(device.ieee)
    air.run(5.0)
    return device


@pytest.mark.parametrize("settings", [MediumSettings(airtime=False), MediumSettings()], ids=["instant", "airtime"])
def test_every_frame_of_a_whole_story_decodes(tmp_path, settings):
    air = Air(settings)
    pcap = tmp_path / "story.pcap"
    with record(air, pcap):
        device = whole_story(air)
    assert not device.joined
    assert air.log.leaves == [DEVICE_IEEE]
    assert problems(pcap) == ""
    frames = read(pcap, "-T", "fields", "-e", "wpan.fcs_ok", "-e", "wpan-tap.ch_num").split()
    assert len(frames) == 2 * len(air.frames)
    assert set(frames[::2]) == {"1"}
    assert {"11", "15"} == set(frames[1::2])
    # Every APS data frame on the Smart Energy profile is link-key secured, its acknowledgements too.
    secured = read(pcap, "-Y", "zbee_aps.profile==0x0109", "-T", "fields", "-e", "zbee_aps.security").split()
    assert len(secured) >= 16
    assert set(secured) == {"1"}


def test_the_link_key_alone_opens_the_capture_through_transport_key(tmp_path):
    air = Air()
    pcap = tmp_path / "join.pcap"
    with record(air, pcap):
        whole_story(air)
    assert problems(pcap, keys=(LINK_KEY,)) == ""
    transported = read(pcap, "-Y", "zbee_aps.cmd.key", "-T", "fields", "-e", "zbee_aps.cmd.key", keys=(LINK_KEY,))
    assert NETWORK_KEY.hex() in transported.replace(":", "")


def test_tshark_puts_our_fragments_together(tmp_path):
    air = Air()
    pcap = tmp_path / "fragments.pcap"
    message = tunnelled(300)
    with record(air, pcap):
        device, _ = air.join()
        device.send(to_hub(message, cluster=0x0704))
        air.coordinator.send(to_device(device, message, cluster=0x0704))
        air.run(2.0)
    reassembled = read(pcap, "-T", "fields", "-e", "zbee_aps.reassembled.length").split()
    assert reassembled == ["300", "300"]


def test_without_keys_nothing_of_the_payload_shows(tmp_path):
    air = Air()
    pcap = tmp_path / "closed.pcap"
    with record(air, pcap):
        device, _ = air.join()
        air.coordinator.send(to_device(device, b"secret"))
        air.run(1.0)
    encrypted = read(
        pcap, "-Y", '_ws.expert.message == "Encrypted Payload"', "-T", "fields", "-e", "frame.number", keys=()
    )
    assert len(encrypted.split()) > 5


def test_the_key_file_is_private_and_is_what_wireshark_reads(tmp_path):
    path = tmp_path / "zigbee_pc_keys"
    path.write_text("older and open to all")
    path.chmod(0o644)
    write_zigbee_pc_keys(path, {"network": NETWORK_KEY, "ppmid": LINK_KEY})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines()[0] == '"10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f","Normal","network"'
    with pytest.raises(ValueError, match="label"):
        write_zigbee_pc_keys(path, {'a"b': NETWORK_KEY})
