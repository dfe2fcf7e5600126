"""Zigbee2MQTT whole, as people run it: its own process, a broker beside it, and talk over MQTT.

`.ci/run` installs it into `.node`, with a node that it runs on, and mosquitto.

with broker(tmp_path) as mqtt, zigbee2mqtt(tmp_path, mqtt, dongle.port, "zstack"):
    mqtt.ask("permit_join", time=60)                    # the answer of bridge/response/permit_join
    mqtt.until("bridge/event", lambda event: event["type"] == "device_joined")
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.herdsman import MODULES, NODE, need_node_modules
from tests.support.oracles import missing
from tests.support.programs import until

_PROGRAM = MODULES / "zigbee2mqtt" / "index.js"
_BASE = "z"
_LIMIT_S = 60.0
_SETTINGS = """\
version: 5
mqtt: {{server: "mqtt://127.0.0.1:{mqtt}", base_topic: {base}}}
serial: {{port: "{port}", adapter: {adapter}}}
frontend: {{enabled: false}}
homeassistant: {{enabled: false}}
advanced:
  log_output: [console]
  channel: 15
  pan_id: 6754
  ext_pan_id: [221, 17, 34, 51, 68, 85, 102, 119]
  network_key: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
ota: {{disable_automatic_update_check: true, image_block_response_delay: 50}}
"""


def need_zigbee2mqtt() -> None:
    """Skip the test where something of it is not installed; in CI that is an error."""
    for program in ("mosquitto", "mosquitto_pub", "mosquitto_sub"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    need_node_modules("zigbee2mqtt")


@dataclass
class Mqtt:
    """All that is published, read from the file that a subscriber writes."""

    port: int
    said: Path

    def messages(self, topic: str) -> list[Any]:
        lines = (line.partition(" ") for line in self.said.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [json.loads(payload) for at, _, payload in lines if at == f"{_BASE}/{topic}"]

    def until(self, topic: str, wanted: Callable[[Any], object] = bool, after: int = 0) -> Any:
        """The first message of a topic, from number `after` on, that is wanted."""

        def found() -> list[Any]:
            return list(filter(wanted, self.messages(topic)[after:]))

        until(found, f"a message of {topic}", lambda: self.said.read_text()[-3000:], _LIMIT_S)
        return found()[0]

    def ask(self, request: str, **body: object) -> Any:
        """A request to the bridge, and what it answers."""
        before = len(self.messages(f"bridge/response/{request}"))
        topic = f"{_BASE}/bridge/request/{request}"
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, "-m", json.dumps(body)]
        subprocess.run(command, check=True, timeout=10.0)
        answer = self.until(f"bridge/response/{request}", after=before)
        assert answer["status"] == "ok", answer
        return answer["data"]


@contextmanager
def broker(directory: Path) -> Iterator[Mqtt]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings, said = directory / "mosquitto.conf", directory / "mqtt.txt"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    subscribe = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", f"{_BASE}/#", "-F", "%t %p"]
    with (directory / "mosquitto.log").open("wb") as log, _ended(["mosquitto", "-c", str(settings)], log) as process:
        until(lambda: _listens(port), "mosquitto to listen", lambda: f"exit code {process.poll()}")
        with said.open("wb") as out, _ended(subscribe, out):
            yield Mqtt(port, said)


@contextmanager
def zigbee2mqtt(directory: Path, mqtt: Mqtt, port: str, adapter: str) -> Iterator[None]:
    """It has started when the block begins, and at the end until it has said goodbye. Its data stay in `directory` from run to run."""
    data = directory / "zigbee2mqtt"
    data.mkdir(exist_ok=True)
    if not (data / "configuration.yaml").exists():
        settings = _SETTINGS.format(mqtt=mqtt.port, base=_BASE, port=port, adapter=adapter)
        (data / "configuration.yaml").write_text(settings)
    before = len(mqtt.messages("bridge/logging"))
    environment = {**os.environ, "ZIGBEE2MQTT_DATA": str(data), "Z2M_ONBOARD_NO_SERVER": "1"}
    command = [str(NODE), str(_PROGRAM)]  # within a git checkout it would build itself again
    with (data / "console.log").open("ab") as log, _ended(command, log, env=environment, cwd=data) as process:
        mqtt.until("bridge/logging", lambda said: said["message"] == "z2m: Zigbee2MQTT started!", before)
        yield
        assert process.poll() is None, "Zigbee2MQTT ended"


@contextmanager
def _ended(command: list[str], out: Any, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block."""
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **how)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
