"""A table of a TOML file, or a command, read key by key; what nobody asked for is refused in the end."""

import re
from pathlib import Path

from devices.stack.interface import Eui64

_MISSING = object()
_EUI64 = re.compile(r"[0-9A-Fa-f]{2}([-:]?)(?:[0-9A-Fa-f]{2}\1){6}[0-9A-Fa-f]{2}")


class ScenarioError(Exception):
    """The file, the key and what to do about it."""

    def __init__(self, path: Path | None, key: str, problem: str) -> None:
        where = [str(each) for each in (path, key) if each]
        super().__init__(f"{': '.join(where)}: {problem}" if path else f"{key} {problem}")


def parse_eui64(text: str) -> Eui64 | None:
    """With hyphens, colons or nothing between the octets; None for anything else."""
    return Eui64(int(re.sub(r"[-:]", "", text), 16)) if _EUI64.fullmatch(text) else None


def format_eui64(eui64: int) -> str:
    """`00-DB-12-34-56-78-90-A4`, as the hub prints it."""
    return eui64.to_bytes(8, "big").hex("-").upper()


class Section:
    """`name` is the path of the table, for messages; a command has no `path`. Readers note which keys are known."""

    def __init__(self, values: dict[str, object], path: Path | None, name: str = "") -> None:
        self._path = path
        self._values = values
        self._name = name
        self._unread = dict.fromkeys(values)
        self._known: list[str] = []

    def error(self, key: str, problem: str) -> ScenarioError:
        return ScenarioError(self._path, f"{self._name}.{key}" if self._name else key, problem)

    def finish(self) -> None:
        """Refuse keys that were never read."""
        for key in self._unread:
            raise self.error(key, f"is not known here: use one of {', '.join(sorted(set(self._known)))}, or remove it")

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        self._unread.pop(key, None)
        value = self._values.get(key, default)
        if value is _MISSING:
            raise self.error(key, "is missing and has no default: add it")
        return value

    def has(self, key: str) -> bool:
        return key in self._values

    def file(self, key: str, name: str | None = None) -> Path:
        """The file that is named, or `name`: relative to the scenario."""
        assert self._path is not None, "commands name no files"
        return self._path.parent / Path(self.text(key) if name is None else name).expanduser()

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is true or false, not {value!r}")
        return value

    def text(self, key: str, default: str | None = None, *, longest_bytes: int | None = None) -> str:
        value = self._take(key, _MISSING if default is None else default)
        if not isinstance(value, str):
            raise self.error(key, f"is a text in quotes, not {value!r}")
        if longest_bytes is not None and len(value.encode()) > longest_bytes:
            raise self.error(key, f"has at most {longest_bytes} octets, not {len(value.encode())}")
        return value

    def integer(self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int = 0xFFFF_FFFF) -> int:
        value = self._take(key, _MISSING if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"is a whole number such as 10 or 0x0A, not {value!r}")
        if not minimum <= value <= maximum:
            raise self.error(key, f"lies between {minimum} and {maximum}, but is {value}")
        return value

    def optional_integer(self, key: str, *, minimum: int = 0, maximum: int = 0xFFFF_FFFF) -> int | None:
        if not self.has(key):
            self._known.append(key)
            return None
        return self.integer(key, minimum=minimum, maximum=maximum)

    def number(self, key: str, default: float | None = None, *, minimum: float = 0.0, maximum: float = 1e9) -> float:
        value = self._take(key, _MISSING if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"is a number, not {value!r}")
        if not minimum <= value <= maximum:  # which is False for nan too
            raise self.error(key, f"lies between {minimum:g} and {maximum:g}, but is {value}")
        return float(value)

    def optional_number(self, key: str, *, minimum: float = 0.0, maximum: float = 1e9) -> float | None:
        if not self.has(key):
            self._known.append(key)
            return None
        return self.number(key, minimum=minimum, maximum=maximum)

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in options:
            raise self.error(key, f"is one of {', '.join(options)}, not {value!r}")
        return value

    def eui64(self, key: str, default: Eui64 | None = None) -> Eui64:
        if default is not None and not self.has(key):
            self._known.append(key)
            return default
        return self._eui64(key, self.text(key))

    def texts(self, key: str, options: tuple[str, ...]) -> tuple[str, ...]:
        """A list of some of these; none without the key."""
        value = self._take(key, [])
        if not isinstance(value, list) or not all(entry in options for entry in value):
            raise self.error(key, f"is a list of some of {', '.join(options)}")
        return tuple(value)

    def eui64s(self, key: str) -> tuple[Eui64, ...]:
        """A list of at least one."""
        value = self._take(key, _MISSING)
        if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
            raise self.error(key, 'is a list of EUI-64s, such as ["00-DB-12-34-56-78-90-A4"]')
        return tuple(self._eui64(key, entry) for entry in value)

    def _eui64(self, key: str, value: str) -> Eui64:
        eui64 = parse_eui64(value)
        if eui64 is None:
            raise self.error(key, f"is an EUI-64 such as 00-DB-12-34-56-78-90-A4, not {value!r}")
        if eui64 in {0, 0xFFFF_FFFF_FFFF_FFFF}:
            raise self.error(key, "must not be all zeros or all ones: those mean nobody and everybody")
        return eui64

    def table(self, key: str) -> "Section":
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"is a table: write [{key}], not {key} = {value!r}")
        return Section(value, self._path, f"{self._name}.{key}" if self._name else key)

    def tables(self, key: str) -> list["Section"]:
        value, name = self._take(key, []), f"{self._name}.{key}" if self._name else key
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, f"is a list of tables: write [[{name}]] above each")
        return [Section(entry, self._path, f"{name}[{index}]") for index, entry in enumerate(value, 1)]
