"""What a stick says of the questions that decide whether key establishment can work on it. No radio, no library.

Each question has the name that hw-setup.md gives it: E1 to E7 of EZSP, Z1 to Z6 of Z-Stack. What a command can tell is
an `Observation`; what only a device or a sniffer can tell stays open, and is said to.
"""

from dataclasses import dataclass
from enum import StrEnum

from chf.radio.interface import RadioInfo


class Standing(StrEnum):
    """How far a question is answered by the stick alone."""

    ANSWERED = "answered"
    PARTLY = "partly answered"
    OPEN = "not answerable without a device or a sniffer"


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was asked of the stick. `question` is the one that it belongs to, "" where it is for all."""

    name: str
    value: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    name: str  # "E1"
    text: str
    standing: Standing
    answer: str = ""


@dataclass(frozen=True, slots=True)
class SecurityReport:
    info: RadioInfo
    observations: tuple[Observation, ...]
    questions: tuple[Question, ...]

    def as_json(self) -> dict[str, object]:
        return {
            **self.info.as_json(),
            "observations": [
                {"name": seen.name, "value": seen.value, "question": seen.question or None}
                for seen in self.observations
            ],
            "questions": [
                {
                    "question": question.name,
                    "text": question.text,
                    "standing": question.standing.value,
                    "answer": question.answer or None,
                }
                for question in self.questions
            ],
        }
