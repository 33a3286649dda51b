"""NumPy's .npy: a row of float32 for each result's embedding, NaN for a record that failed; read it with numpy.load.

Written while streaming: the header, of fixed size, gets the number of rows at the end. So it needs a regular file.

Try: echo "a gripping film" | bertcli predict -t embed -o vectors.npy
"""

import struct
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Record, is_error
from bertcli.errors import RecordError

SIZE = 128  # bytes of the header; version 1.0 wants a multiple of 64
NAN = struct.pack("<f", float("nan"))


class Formatter(BaseFormatter):
    """Rows of one width, that of the first embedding."""

    REMEMBERED = ("_rows", "_width", "_missing")
    NEEDS = ({"embedding"},)
    header = bytes(SIZE)
    NO_STDOUT = "npy needs the number of rows at its beginning, so it is written to a file: -o vectors.npy"
    _rows = 0
    _width = 0  # until the first embedding
    _missing = 0  # rows before it

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> bytes:
        """A row, after the header and the rows of NaN that waited for its width."""
        embedding = result.get("embedding")
        if is_error(result):
            self._rows += 1
            self._missing += not self._width
            return NAN * self._width
        if not isinstance(embedding, list) or (self._width and len(embedding) != self._width):
            raise RecordError("only results with an embedding can be npy; use --format jsonl")
        self._rows += 1
        start = b""
        if not self._width:
            self._width = len(embedding)
            start = bytes(SIZE) + NAN * (self._missing * self._width)
        row = array("f", embedding)
        if sys.byteorder == "big":
            row.byteswap()
        return start + row.tobytes()

    def end(self) -> bytes:
        """Nothing closes the rows, which are counted now; without any there is still a header to fill."""
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self._rows}, {self._width}), }}"
        start = b"\x93NUMPY\x01\x00" + (SIZE - 10).to_bytes(2, "little")
        self.header = start + text.ljust(SIZE - 11).encode() + b"\n"
        return b"" if self._width else bytes(SIZE)
