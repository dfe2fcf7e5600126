"""Text from a device or a file, for a terminal or a page: it may not drive either."""


def printable(text: str, *, lines: bool = False) -> str:
    """Every control character escaped; with `lines`, all but the ends of lines."""
    return "".join(
        character if character.isprintable() or (lines and character == "\n") else f"\\x{ord(character):02x}"
        for character in text
    )
