"""Bytes in: files and stdin as lines, decompressed, of bounded length, each as soon as it is there.

Knows no format. A fault (a line too long, a broken archive) is a RecordError in the place of the line. Any encoding but
UTF-8 is turned into UTF-8 on the way in, so that a line ends at byte 10 for every reader; a byte that does not decode
becomes 0xFF, which no UTF-8 has, and is reported when its line is decoded.

Try: printf 'good\\n\\xff\\nbad' | python -c 'from bertcli.data.streams import Source; print(*Source("-").texts())'
"""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from bertcli.data.formats import by_extension, compression, extension
from bertcli.data.signatures import HEAD, UTF16, no_text
from bertcli.errors import RecordError, UsageError

MAX_LINE = 64 << 20  # bytes; a longer line is a fault, so that a file of zeros does not fill the memory
READ_SIZE = 1 << 16
FEW = 20  # bytes; fewer in a file whose name has no ending may be anything
BOM = b"\xef\xbb\xbf"
_MARK = "bertcli.mark"
FREQUENT = (  # Chinese characters, of all texts
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实很电影"
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
        raise UsageError(f"no encoding '{encoding}'; try utf-8, latin-1, cp1252 or utf-16") from error


class Source:
    """One input: its name, its lines and how their bytes become text.

    start: the byte of a plain UTF-8 file where reading begins, at the line that begins there or next after it;
    first_line: the number of that line. requires_text: whether what is no text by its first bytes is a UsageError, and
    not a fault of its lines; no_text: why, once it is open.
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
        self.start = start
        self.first_line = first_line
        self.encoding = encoding
        self.is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        self.requires_text = requires_text
        self.no_text: str | None = None
        self._is_utf16 = False
        self._begun: Iterator[Line] | None = None
        self._compression = compression(name)
        # what reading raises when a disk fails, an archive is cut or wrong, or an encoding has no start
        self._broken: tuple[type[Exception], ...] = (OSError, EOFError, UnicodeError)
        if self._compression:
            self._broken += (self._compression.error,)

    def texts(self, keep_ends: bool = False) -> Iterator[Text]:
        r"""The number and text of each line, without its end: \n or \r\n, no lone \r, U+2028 or the like."""
        for number, line in enumerate(self.lines(), self.first_line):
            if isinstance(line, RecordError):
                yield number, line
                continue
            if not keep_ends and line.endswith(b"\n"):
                line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                yield number, self._not_text(line, error)
            else:
                yield number, text

    def text(self, line: Line) -> str:
        """The text of a line, its end included; RecordError with the place of the first byte that does not decode."""
        if isinstance(line, RecordError):
            raise line
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise self._not_text(line, error) from error

    def _not_text(self, line: bytes, error: UnicodeDecodeError) -> RecordError:
        position = f"byte {error.start + 1}"
        if not self.is_utf8:  # the bytes are no longer those of the file: count what a person sees
            position = f"character {len(line[: error.start].decode()) + 1}"
        name = "UTF-8" if self.is_utf8 else self.encoding
        hint = "--encoding names another encoding"
        if self.no_text:
            hint = f"it is {self.no_text}"
        elif self.is_utf8 and _is_chinese(line):
            hint = "it looks like Chinese: --encoding gb18030"
        return RecordError(f"invalid {name} at {position} of the line; {hint}")

    def require_text(self) -> None:
        """Raise UsageError for what cannot be opened, or is no text."""
        self._open().close()

    def begin(self, count: int = 1) -> list[Line]:
        """The first lines; lines() gives them again, also where an input can be read only once."""
        lines = self.lines()
        first = list(islice(lines, count))
        self._begun = chain(first, lines)
        return first

    def lines(self) -> Iterator[Line]:
        """The lines, those that begin() has read included; see _lines."""
        begun, self._begun = self._begun, None
        return begun or self._lines()

    def _lines(self) -> Iterator[Line]:
        r"""The lines as UTF-8 bytes with their end: b"\n", b"\r\n", or none on the last; a byte order mark is dropped.

        A line that is too long, and the place where an archive breaks, come as a RecordError.
        """
        with closing(self._open()) as stream:
            try:
                if self.start > 0:
                    stream.seek(self.start - 1)
                    _skip_line(stream)
                # readline(), not iteration or read(): it returns with the line, however slow the pipe, and has a bound
                line = stream.readline(MAX_LINE + 1).removeprefix(b"" if self.start > 0 else BOM)
                while line:
                    if len(line) > MAX_LINE and not line.endswith(b"\n"):
                        _skip_line(stream)
                        yield RecordError(f"a line longer than {MAX_LINE >> 20} MiB")
                    elif self._is_utf16:  # most of its lines would pass for UTF-8, with a NUL beside each letter
                        yield RecordError("UTF-16, as its first bytes say; --encoding utf-16 reads it")
                    else:
                        yield line
                    line = stream.readline(MAX_LINE + 1)
            except self._broken as error:
                reason = getattr(error, "strerror", None) or error
                yield RecordError(f"cannot read on ({reason}); the rest of this input is lost")

    def head(self, size: int) -> bytes:
        """The first `size` bytes, decompressed; none of a broken archive, of which lines() says what is wrong."""
        with closing(self._open()) as stream:
            try:
                start: bytes = stream.read(size)
            except self._broken:
                return b""
            return start

    def _open(self) -> Any:
        try:
            if self.name == "-":
                stream = _stdin()
            else:
                stream = self._compression.open(self.name) if self._compression else _file(self.name)
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}") from error
        self._look(stream)
        return stream if self.is_utf8 else io.BufferedReader(_Transcoded(stream, self.encoding))

    def _look(self, stream: Any) -> None:
        """See what the first bytes say; those of a broken archive say nothing."""
        try:
            head = stream.peek(HEAD)
        except self._broken:
            return
        has_name = self.name == "-" or extension(self.name) or self._compression
        if has_name or len(head) >= FEW:
            # noise under the name of a format is faults of its lines, as a damaged file's
            self.no_text = no_text(head, self.name, self.is_utf8 and by_extension("input", self.name) is None)
        self._is_utf16 = self.is_utf8 and head.startswith(UTF16) and b"\0" in head
        if self.no_text and self.requires_text:
            stream.close()
            raise UsageError(f"{'stdin' if self.name == '-' else self.name}: {self.no_text}")


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


def _skip_line(stream: IO[bytes]) -> None:
    line = stream.readline(READ_SIZE)
    while line and not line.endswith(b"\n"):
        line = stream.readline(READ_SIZE)


def _stdin() -> Any:
    if sys.stdin is None:
        raise UsageError("stdin is closed; name a file or pipe something in")
    try:
        # a buffer of its own: a thread that still waits in sys.stdin's at exit makes Python abort ("could not acquire
        # lock for <_io.BufferedReader name='<stdin>'> at interpreter shutdown")
        return open(sys.stdin.fileno(), "rb", buffering=READ_SIZE, closefd=False)
    except io.UnsupportedOperation:  # a stdin in memory, as in tests
        return io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))


def _file(path: str) -> Any:
    return Path(path).open("rb", buffering=READ_SIZE)


class _Transcoded(io.RawIOBase):
    """A stream of another encoding, as UTF-8."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_MARK)
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            chunk = self._stream.read1(READ_SIZE)
            self._ended = not chunk
            self._ready = self._decoder.decode(chunk, final=self._ended).encode("utf-8", _MARK)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()
