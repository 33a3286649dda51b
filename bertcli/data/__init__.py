r"""Records in, results out, in any format, in constant memory. Knows no task and no model.

Reading: readers.py finds the files that names stand for and opens each as a Source (streams.py: bytes, decompressed, as
lines of text; compression.py), of which its format (formats/) makes records (records.py). Writing: a Writer
(writers.py) gives each result to a formatter (formats/) and the bytes to a sink (sinks.py), and notes in a journal
(journal.py) from where another run can go on. What a terminal shows of others' text goes through `visible`.
Try: python -c 'from bertcli.data import visible; print(visible("\x1b]0;title\x07 a\nb"))'
"""

import re

# What moves the cursor, changes the terminal or turns the reading direction. The joiners of emoji and Persian stay.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str, *, mask: bool = False, lines: bool = False) -> str:
    r"""The text without a character that could colour, clear or retitle the reader's terminal.

    Each such character becomes its escape, as `\x1b`, so that a reader sees what is there. mask: it becomes one U+FFFD
    instead, as wide as a character, and so does all that `str.isprintable` calls unprintable, joiners and every space
    but U+0020 among it; for names and places in tables. lines: of whole lines, messages or data, whose line ends and
    tabs stay, and whose escapes are those of JSON, as `\u001b`, so that a line of JSON stays one.
    """
    if text.isprintable():  # no printable character is a control; 0.2 µs a line against 0.56 µs for the expression
        return text
    if mask:
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    if lines:
        return _CONTROL.sub(lambda match: match[0] if match[0] in "\n\t" else f"\\u{ord(match[0]):04x}", text)
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
