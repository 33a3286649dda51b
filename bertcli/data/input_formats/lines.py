r"""Plain text: every line is a record, also a blank one, so that output lines match input lines.

Try: printf 'a good film\n\na bad one\n' | bertcli predict
"""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

BY_LINE = True
EXTENSIONS = (".txt", ".text")


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    r"""Records {"text": line}; only \n and \r\n end a line."""
    for number, text in source.texts():
        if isinstance(text, RecordError):
            yield Record(line=number, fault=str(text))
        else:
            yield Record(fields={"text": text}, line=number)
