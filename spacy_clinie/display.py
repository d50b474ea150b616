"""Text as a page or a terminal can show it."""

# What HTML cannot hold, character for character, so that offsets stay right.
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_VISIBLE |= {0x7F: 0x2421, 0x0D: 0x0A}
_VISIBLE |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)


def shown(text: str) -> str:
    """The text with something visible for each character that a page or a terminal must not get (control characters,
    half characters). As long as the text.

    text (str): Any text.
    RETURNS (str): The text to show.
    """
    return text.replace("\r\n", " \n").translate(_VISIBLE)


def one_line(text: str) -> str:
    """The text as a terminal can show it within a line: a type's name may hold anything.

    text (str): Any text.
    RETURNS (str): The text to show, with single blanks.
    """
    return " ".join(shown(text).split())
