"""Plain text: every line is a record, also a blank one, so that output lines match input lines."""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record, parsed
from bertcli.data.streams import Line, Source, chomp

BY_LINE = True  # reading may begin at any line
EXTENSIONS = (".txt", ".text")


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    r"""Records {"text": line}; only \n and \r\n end a line."""

    def parse(line: Line) -> dict[str, str]:
        return {"text": source.text(chomp(line))}

    return parsed(source.lines(), parse, source.first_line)
