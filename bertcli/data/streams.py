"""Bytes in: files and stdin as lines, decompressed, of bounded length, each as soon as it is there.

Knows no format. What is no text is told by its first bytes: magic numbers as file(1) has them; those that could also
begin a text are taken with the bytes that follow. A fault (a line too long, a broken archive) is a RecordError in the
place of the line. Any encoding but UTF-8 is turned into UTF-8 on the way in, so that a line ends at byte 10 for every
reader; a byte that does not decode becomes 0xFF, which no UTF-8 has, and is reported when its line is decoded.

Try: printf 'good\\n\\xff\\nbad' | python -c 'from bertcli.data.streams import Source; print(*Source("-").texts())'
"""

import codecs
import errno
import io
import os
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from bertcli.data.compression import Pieces, compression, extension
from bertcli.data.formats import by_extension
from bertcli.data.records import Header
from bertcli.errors import RecordError, UsageError

MAX_LINE = 64 << 20  # bytes; a longer line is a fault, so that a file of zeros does not fill the memory
READ_SIZE = 1 << 16
FEW = 20  # bytes; fewer in a file whose name has no ending may be anything
BOM = b"\xef\xbb\xbf"
LONE_RETURN = "a carriage return alone ends no line: `tr '\\r' '\\n'` makes it one"
_MARK = "bertcli.mark"
FREQUENT = (  # Chinese characters, of all texts and, at the end, of headers
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实很电影评论标签内容类别文本题情感编号"
)

Line = bytes | RecordError
Text = tuple[int, str | RecordError]  # 1-based number of a line, and its text or what is wrong with it


def _mark(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec error handler: what cannot be decoded, or encoded as UTF-8, becomes the byte 0xFF."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    assert isinstance(error, UnicodeEncodeError)
    return b"\xff" * (error.end - error.start), error.end


codecs.register_error(_MARK, _mark)


def check_encoding(encoding: str) -> None:
    """Raise UsageError unless `encoding` is a text codec that this Python has and that can decode a stream."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses what is not a text encoding, such as base64
        codecs.getincrementaldecoder(encoding)(_MARK).decode(b"a")
    except (LookupError, ValueError) as error:
        raise UsageError(f"no encoding '{encoding}'; try utf-8, latin-1, cp1252, gb18030 or utf-16") from error


class Source:
    """One input: its name, its lines and how their bytes become text.

    shown: the name as messages have it. start: the byte of a plain UTF-8 file where reading begins, at the line that
    begins there or next after it; first_line: the number of that line. requires_text: whether what is no text by its
    first bytes is a UsageError, and not a fault of its lines; no_text: why, once it is open. header: that of a
    table, once it is read.
    """

    def __init__(
        self,
        name: str,
        encoding: str = "utf-8",
        start: int = 0,
        first_line: int = 1,
        requires_text: bool = False,
    ) -> None:
        self.name = name
        self.shown = "stdin" if name == "-" else name
        self.start = start
        self.first_line = first_line
        self.encoding = encoding
        self.is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        self.requires_text = requires_text
        self.no_text: str | None = None
        self.header: Header | None = None
        self._wide: str | None = None  # the encoding in which UTF-8 would see a NUL beside each letter
        self._begun: Iterator[Line] | None = None
        self._compression = compression(name)
        # what reading raises when a disk fails, an archive is cut or wrong, or an encoding has no start
        self._broken: tuple[type[Exception], ...] = (OSError, EOFError, UnicodeError)
        if self._compression:
            self._broken += (self._compression.error,)

    def texts(self, keep_ends: bool = False) -> Generator[Text, None, None]:
        r"""The number and text of each line, without its end: \n or \r\n, no lone \r, U+2028 or the like."""
        for number, line in enumerate(self.lines(), self.first_line):
            if not keep_ends and isinstance(line, bytes) and line.endswith(b"\n"):
                line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            try:
                text: str | RecordError = self.text(line)
            except RecordError as error:
                text = error
            yield number, text

    def text(self, line: Line) -> str:
        """The text of a line, its end included; RecordError with the place of the first byte that does not decode."""
        if isinstance(line, RecordError):
            raise line
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            position = f"byte {error.start + 1}"
            if not self.is_utf8:  # the bytes are no longer those of the file: count what a person sees
                position = f"character {len(line[: error.start].decode()) + 1}"
            hint = "--encoding names another encoding"
            if self.no_text:
                hint = f"it is {self.no_text}"
            elif self.is_utf8 and _is_chinese(line):
                hint = "it looks like Chinese: --encoding gb18030"
            name = "UTF-8" if self.is_utf8 else self.encoding
            raise RecordError(f"invalid {name} at {position} of the line; {hint}") from error

    def begin(self, count: int = 1) -> list[str]:
        """The first lines as text, "" for those that are not there or are no text.

        lines() gives them again, also where an input can be read only once.
        """
        lines = self.lines()
        first = list(islice(lines, count))
        self._begun = chain(first, lines)
        texts = [line.decode("utf-8", "replace") if isinstance(line, bytes) else "" for line in first]
        return texts + [""] * (count - len(texts))

    def lines(self) -> Iterator[Line]:
        """The lines, those that begin() has read included; see _lines."""
        begun, self._begun = self._begun, None
        return begun or self._lines()

    def _lines(self) -> Iterator[Line]:
        r"""The lines as UTF-8 bytes with their end: b"\n", b"\r\n", or none on the last; a byte order mark is dropped.

        A line too long, and the place where an archive breaks or a file was cut meanwhile, come as RecordErrors.
        """
        with closing(self._open()) as stream:
            try:
                size = _size(stream)
                if self.start > 0:
                    stream.seek(self.start - 1)
                    _skip_line(stream)
                # readline(), not iteration or read(): it returns with the line, however slow the pipe, and has a bound
                line = stream.readline(MAX_LINE + 1).removeprefix(b"" if self.start > 0 else BOM)
                if not line and getattr(stream, "mtime", 0) is None:  # Python's gzip takes no bytes for an archive
                    raise EOFError("no bytes, not even those of an empty archive")
                while line:
                    if len(line) > MAX_LINE and not line.endswith(b"\n"):
                        _skip_line(stream)
                        yield RecordError(f"a line longer than {MAX_LINE >> 20} MiB")
                    elif self._wide:  # most of its lines would pass for UTF-8
                        name = self._wide
                        yield RecordError(f"{name.upper()}, as its first bytes say; --encoding {name} reads it")
                    else:
                        yield line
                    line = stream.readline(MAX_LINE + 1)
                    if not line.endswith(b"\n") and _size(stream) < size:  # then a last line may be half of one
                        raise OSError(errno.EIO, "it became shorter while it was read")
            except self._broken as error:
                reason = getattr(error, "strerror", None) or error
                yield RecordError(f"cannot read on ({reason}); the rest of this input is lost")

    def head(self, size: int) -> bytes:
        """The first `size` bytes, decompressed; none of a broken archive, of which lines() says what is wrong.

        Raises UsageError for what cannot be opened, or is no text where that is required.
        """
        with closing(self._open()) as stream:
            try:
                start: bytes = stream.read(size)
            except self._broken:
                return b""
            return start

    def _open(self) -> Any:
        stream: Any
        try:
            if self.name == "-":
                if sys.stdin is None:
                    raise UsageError("stdin is closed; name a file or pipe something in")
                # A buffer of its own: a thread that still waits in sys.stdin's at exit makes Python abort ("could not
                # acquire lock for <_io.BufferedReader name='<stdin>'> at interpreter shutdown").
                stream = open(sys.stdin.fileno(), "rb", buffering=READ_SIZE, closefd=False)  # noqa: SIM115 - as below
            elif self._compression:
                stream = self._compression.open(self.name)
            else:
                stream = Path(self.name).open("rb", buffering=READ_SIZE)  # noqa: SIM115 - who reads closes it
        except io.UnsupportedOperation:  # a stdin in memory, as in tests
            stream = io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}") from error
        try:
            head = stream.peek(HEAD)
        except self._broken:  # the first bytes of a broken archive say nothing
            head = b""
        if self.name == "-" or extension(self.name) or self._compression or len(head) >= FEW:
            # noise under the name of a format is faults of its lines, as a damaged file's
            self.no_text = no_text(head, self.name, self.is_utf8 and by_extension("input", self.name) is None)
        self._wide = _wide(head) if self.is_utf8 and b"\0" in head else None
        if self.no_text and self.requires_text:
            stream.close()
            raise UsageError(f"{self.shown}: {self.no_text}")
        if self.is_utf8:
            return stream
        texts = codecs.iterdecode(iter(lambda: stream.read1(READ_SIZE), b""), self.encoding, _MARK)
        return io.BufferedReader(Pieces((text.encode("utf-8", _MARK) for text in texts), stream))


def _wide(head: bytes) -> str | None:
    """The encoding of text that begins so, where its units have two or four bytes, by a mark or by letters.

    The upper bytes of letters are control characters as bytes of UTF-8, in all scripts but those of East Asia; those of
    spaces and line ends are NUL, one of 200 at least: lines of one letter have line ends there, too.
    """
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith(UTF16):
        return "utf-16"
    for name, nul in (("utf-16-le", 1), ("utf-16-be", 0)) if len(head) >= 8 else ():  # fewer may be anything
        upper = head[nul::2]
        has_spaces = 0 not in head[1 - nul :: 2] and upper.count(0) * 200 >= len(upper)
        if has_spaces and sum(byte < 32 for byte in upper) > 0.8 * len(upper):
            return name
        if sum(char in FREQUENT for char in head.decode(name, "ignore")) > 0.15 * len(upper):
            return name
    return None


def _is_chinese(line: bytes) -> bool:
    """Whether bytes that are no UTF-8 look like GB18030: all that is not ASCII pairs up, most of it in GB 2312's rows.

    Latin-1's letters stand alone. Hangul in EUC-KR pairs up too, within rows that have half of the ideographs: there
    the most frequent of these must be seen.
    """
    try:
        text = line.decode("gb18030")
        hangul = line.decode("euc-kr", "replace")
    except UnicodeDecodeError:
        return False
    others = [char for char in text if char > "\x7f"]
    ideographs = [char for char in others if "\u4e00" <= char <= "\u9fff"]
    if len(ideographs) < 2 or len(ideographs) < 0.6 * len(others):
        return False
    if sum("\uac00" <= char <= "\ud7a3" for char in hangul) >= 0.9 * len(ideographs):
        return sum(char in FREQUENT for char in ideographs) >= 0.15 * len(ideographs)
    return sum(len(char.encode("gb2312", "ignore")) == 2 for char in others) >= 0.9 * len(others)


def _size(stream: IO[bytes]) -> int:
    """Bytes of the regular file that is read; 0 where it is a pipe, or in memory."""
    with suppress(OSError):
        status = os.fstat(stream.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 0


def _skip_line(stream: IO[bytes]) -> None:
    line = stream.readline(READ_SIZE)
    while line and not line.endswith(b"\n"):
        line = stream.readline(READ_SIZE)


# -- what is no text


class Signature(NamedTuple):
    """magic: how such a file begins, at `offset`. name: what it is. hint: the next step, `{file}` its name."""

    magic: bytes
    name: str
    hint: str
    offset: int = 0


OFFICE_STEP = "save it as text or CSV, or `soffice --headless --convert-to csv {file}` does"
WORD_STEP = "save it as text, or `soffice --headless --convert-to txt:Text {file}` does"
PANDAS = "python -c \"import pandas, sys; pandas.{reader}('{{file}}').to_csv(sys.stdout, index=False)\" makes CSV of it"
IMAGE = "a program for text recognition makes text of it"
HEAD = 4096  # bytes that tell; tar has its mark at 257, an Office file the name of its second part further on
UTF16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b\x08")
SIGNATURES = (
    Signature(b"\x1f\x8b", "gzip", "`zcat {file}` unpacks it, and a name that ends in .gz is read as it is"),
    Signature(b"\x28\xb5\x2f\xfd", "Zstandard", "`zstd -dc {file}` unpacks it"),
    Signature(b"\xfd7zXZ\x00", "xz", "`xz -dc {file}` unpacks it, and a name that ends in .xz is read as it is"),
    Signature(b"\x5d\x00\x00", "LZMA", "`xz -dc {file}` unpacks it"),
    Signature(b"1AY&SY", "bzip2", "`bzip2 -dc {file}` unpacks it, and a name that ends in .bz2 is read as it is", 4),
    Signature(b"\x04\x22\x4d\x18", "LZ4", "`lz4 -dc {file}` unpacks it"),
    Signature(b"LZIP\x01", "lzip", "`lzip -dc {file}` unpacks it"),
    Signature(b"\x1f\x9d", "compress", "`zcat {file}` unpacks it"),
    Signature(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "`7z x -so {file}` unpacks it"),
    Signature(b"Rar!\x1a\x07", "a RAR archive", "`unrar p -inul {file}` unpacks it"),
    Signature(b"ustar", "a tar archive", "`tar -xOf {file}` unpacks the files in it", 257),
    Signature(b"PK\x05\x06", "an empty zip archive", "there is nothing in it"),
    Signature(b"PK\x03\x04", "a zip archive", "`unzip -p {file}` unpacks the files in it"),
    Signature(
        b"PAR1\x15", "Parquet", "--input-format parquet reads it, and a name that ends in .parquet is read as it is"
    ),
    Signature(b"ARROW1\x00", "Arrow", "--input-format arrow reads it, and a name that ends in .arrow is read as it is"),
    Signature(b"ORC\x08", "ORC", PANDAS.format(reader="read_orc")),
    Signature(b"Obj\x01", "Avro", "`avrocat {file}` makes JSON lines of it"),
    Signature(b"\x89HDF\r\n\x1a\n", "HDF5", PANDAS.format(reader="read_hdf")),
    Signature(
        b"SQLite format 3\x00", "an SQLite database", "`sqlite3 -csv -header {file} 'SELECT …'` makes CSV of a table"
    ),
    Signature(b"%PDF-", "PDF", "`pdftotext {file} -` makes text of it"),
    Signature(b"%!PS-Adobe", "PostScript", "`ps2ascii {file}` makes text of it"),
    Signature(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an older Office", OFFICE_STEP),
    Signature(b"{\\rtf", "RTF", WORD_STEP),
    Signature(b"\x93NUMPY", "a NumPy array", "bertcli reads texts"),
    Signature(b"\x89PNG\r\n\x1a\n", "a PNG image", IMAGE),
    Signature(b"\xff\xd8\xff", "a JPEG image", IMAGE),
    Signature(b"GIF87a", "a GIF image", IMAGE),
    Signature(b"GIF89a", "a GIF image", IMAGE),
    Signature(b"\x7fELF", "a program", "bertcli reads texts"),
)
# How the first file in a zip archive is called, in the kinds of documents that are such archives.
OFFICE = (
    (b"word/", "a Word document", WORD_STEP),
    (b"xl/", "an Excel workbook", "save it as CSV, or `soffice --headless --convert-to csv {file}` does"),
    (b"ppt/", "a PowerPoint document", "save it as text"),
    (b"opendocument", "an OpenDocument file", OFFICE_STEP),
    (b"[Content_Types].xml", "an Office document", OFFICE_STEP),
    (b"epub", "an e-book", "save it as text, or `pandoc -t plain {file}` does"),
)  # fmt: skip


def no_text(head: bytes, file: str, is_utf8: bool = True) -> str | None:
    """What bytes that begin so are, and the next step, as a sentence; None for what may be text.

    head: up to HEAD bytes, or more. file: how the file is called; "-" for stdin. is_utf8: whether text would be.
    """
    signature = next((one for one in SIGNATURES if head.startswith(one.magic, one.offset)), None)
    if signature is None or (signature.offset == 4 and not head.startswith(b"BZh")):
        return "binary data, no text; bertcli reads texts" if is_utf8 and _is_binary(head) else None
    name, hint = signature.name, signature.hint
    if signature.magic == b"PK\x03\x04":
        name, hint = next(((name, hint) for mark, name, hint in OFFICE if mark in head), (name, hint))
    return f"{name}, no text; {hint.format(file='FILE' if file == '-' else file)}"


def _is_binary(head: bytes) -> bool:
    """Whether bytes are neither UTF-8 nor wider, and one in twenty is a control character that no text has."""
    if len(head) < 64 or b"\0" not in head or _wide(head):
        return False
    try:
        head[:-3].decode()
    except UnicodeDecodeError as error:
        return error.start < len(head) - 7 and sum(map(head.count, CONTROL)) > len(head) / 20
    return False
