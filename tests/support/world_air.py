"""The air of an `update_world`: frames and reports under way, and what a schedule does to them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chf.update import model
from chf.update.effects import Token
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.schedules import Deed
from tests.support.world_rules import Rules

AIR_S = 0.01
NOT_DELIVERED_S = 2.0  # until the radio gives a message up


@dataclass(frozen=True, slots=True)
class Message:
    """Under way. `to` is "hub" or "device" for frames, "fate" for what became of one, "report" for the device's CS09."""

    due: float
    to: str
    payload: bytes = b""
    token: Token | None = None
    delivered: bool = True
    report: model.ActivationReported | None = None


def kind_of(payload: bytes, to: str) -> str:
    """What a frame is, in the words that schedules use."""
    control, command = payload[0], payload[2]
    if not control & 0x01:  # ZCL8 2.4.1.1: a command of all clusters
        return {0x00: "read", 0x01: "read answer"}.get(command, "default response")
    match to, command:
        case "hub", ota.Command.QUERY_NEXT_IMAGE_REQUEST:
            return "query"
        case "hub", ota.Command.UPGRADE_END_REQUEST:
            return "end" if payload[3] == Status.SUCCESS else "failure"
        case "hub", _:
            return "block request"
        case _, ota.Command.IMAGE_NOTIFY:
            return "notify"
        case _, ota.Command.QUERY_NEXT_IMAGE_RESPONSE:
            return "offer" if payload[3] == Status.SUCCESS else "no image"
        case _, ota.Command.UPGRADE_END_RESPONSE:
            return "hold" if payload[15:19] == b"\xff\xff\xff\xff" else "time"
        case _, ota.Command.IMAGE_BLOCK_RESPONSE:
            return {Status.SUCCESS: "block", Status.WAIT_FOR_DATA: "wait"}.get(payload[3], "refusal")
    return "other"


class Air:
    """`messages` are in the order in which they were sent. What goes wrong excuses some of what the rules ask."""

    def __init__(self, deeds: Sequence[Deed], rules: Rules, *, size_bytes: int) -> None:
        self.deeds, self.rules, self.size_bytes = deeds, rules, size_bytes
        self.messages: list[Message] = []
        self.seen: Counter[str] = Counter()
        self.silent_until = rules.start

    def send(self, to: str, payload: bytes, at: float, token: Token | None, *, reachable: bool) -> str:
        """What kind of frame it is. Who is told what became of it names a token."""
        kind = self._kind(payload, to)
        self.seen[kind] += 1
        mine = [deed for deed in self.deeds if (deed.on, deed.n) == (kind, self.seen[kind])]
        fates = {deed.do for deed in mine}
        late = sum(deed.s for deed in mine if deed.do == "late")
        lost = "lose" in fates or self.silent(at)
        if lost or fates & {"late", "unack"}:
            self.rules.trouble(at + late)
        lost = lost or not reachable
        if not lost:
            self.messages += [Message(at + AIR_S + late, to, payload)] * (2 if "twice" in fates else 1)
        if token is not None:
            good = not lost and "unack" not in fates
            due = at + (3 * AIR_S if good else NOT_DELIVERED_S)
            self.messages.append(Message(due, "fate", token=token, delivered=good))
        elif to == "device":
            self.messages.append(Message(at, "fate", token=Token.ANSWER))
        return kind

    def _kind(self, payload: bytes, to: str) -> str:
        kind = kind_of(payload, to)
        if kind == "block" and payload[12:16] == (self.size_bytes - payload[16]).to_bytes(4, "little"):
            return "last block"
        return kind

    def arriving(self, at: float) -> Message | None:
        """The next that is due; it is under way no more."""
        index = next((index for index, message in enumerate(self.messages) if message.due <= at), None)
        return None if index is None else self.messages.pop(index)

    def forget(self, *to: str) -> None:
        self.messages = [message for message in self.messages if message.to not in to]

    def silent(self, at: float) -> bool:
        return at < self.silent_until

    def fall_silent(self, until: float) -> None:
        """What is under way is lost, and all that is sent until then."""
        self.silent_until = until
        self.rules.trouble(until)
        self.forget("hub", "device")

    def drop(self, at: float) -> None:
        """The next frame under way is lost; its sender is told so when the radio gives it up."""
        frame = next((index for index, message in enumerate(self.messages) if message.payload), None)
        if frame is None:
            return
        self.rules.trouble(at)
        fate = self.messages[frame + 1] if frame + 1 < len(self.messages) else None
        if fate is not None and fate.to == "fate" and self.messages[frame].to == "device":
            self.messages[frame + 1] = replace(fate, due=at + NOT_DELIVERED_S, delivered=False)
        del self.messages[frame]
