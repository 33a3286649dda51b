"""A file as one record, whatever its lines: {"text": all of it}.

Try: bertcli predict --input-format document review.txt
"""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

WHOLE = True
EXTENSIONS = ()


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """One record; line ends stay as they are. A line that cannot be read is the fault of the whole."""
    texts = []
    for number, text in source.texts(keep_ends=True):
        if isinstance(text, RecordError):
            yield Record(line=number, fault=str(text))
            return
        texts.append(text)
    yield Record(fields={"text": "".join(texts)}, line=1)
