r"""Plain text: a record for every line, also a blank one, so that output lines match input lines; or for a whole file.

Try: printf 'a good film\n\na bad one\n' | bertcli predict; bertcli predict --input-format document review.txt
"""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    r"""Records {"text": line}; only \n and \r\n end a line."""
    for number, text in source.texts():
        if isinstance(text, RecordError):
            yield Record(line=number, fault=str(text))
        else:
            yield Record(fields={"text": text}, line=number)


def read_document(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """One record {"text": all of it}, line ends as they are. A line that cannot be read is the fault of the whole."""
    texts = []
    for number, text in source.texts(keep_ends=True):
        if isinstance(text, RecordError):
            yield Record(line=number, fault=str(text))
            return
        texts.append(text)
    yield Record(fields={"text": "".join(texts)}, line=1)
