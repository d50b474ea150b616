"""Makes text safe to show on a page or in a terminal."""

# Replacements for characters that HTML does not allow, one by one, so that offsets stay valid.
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_VISIBLE |= {0x7F: 0x2421, 0x0D: 0x0A}
_VISIBLE |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)


def shown(text: str) -> str:
    """Replace control characters and lone surrogates by visible characters.

    text (str): Any text.
    RETURNS (str): The text to show, of the same length.
    """
    return text.replace("\r\n", " \n").translate(_VISIBLE)


def one_line(text: str) -> str:
    """Make text, such as the name of a type, safe to show within a line.

    text (str): Any text.
    RETURNS (str): The text to show, with single spaces.
    """
    return " ".join(shown(text).split())
