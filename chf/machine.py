"""State machines as tables: state -> input -> next state. Each table stands in a file that opens with its rules."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

State = TypeVar("State", bound=Enum)
Input = TypeVar("Input", bound=Enum)


def next_state(transitions: Mapping[State, Mapping[Input, State]], state: State, given: Input) -> State:
    """Raises LookupError for an input without a row: a mistake of the caller, since what others send has its rows."""
    try:
        return transitions[state][given]
    except KeyError:
        raise LookupError(f"{state.name} has no transition for {given.name}") from None
