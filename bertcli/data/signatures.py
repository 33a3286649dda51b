"""What a file is that is no text, by its first bytes, and how its text is had. Knows no format that bertcli reads.

Magic numbers as file(1) has them; those that could also begin a text are taken with the bytes that follow.

Try: python -c 'from bertcli.data.signatures import no_text; print(no_text(b"PAR1\x15", "a.parquet"))'
"""

from typing import NamedTuple


class Signature(NamedTuple):
    """magic: how such a file begins, at `offset`. name: what it is. hint: the next step, `{file}` its name."""

    magic: bytes
    name: str
    hint: str
    offset: int = 0


PANDAS = "python -c \"import pandas, sys; pandas.{reader}('{{file}}').to_csv(sys.stdout, index=False)\" makes CSV of it"
IMAGE = "a program for text recognition makes text of it"
HEAD = 4096  # bytes that tell; tar has its mark at 257, an Office file the name of its second part further on
UTF16 = (b"\xff\xfe", b"\xfe\xff")
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b\x08")
SIGNATURES = (
    Signature(b"\x1f\x8b", "gzip", "`zcat {file}` unpacks it, and a name that ends in .gz is read as it is"),
    Signature(b"\x28\xb5\x2f\xfd", "Zstandard", "`zstd -dc {file}` unpacks it"),
    Signature(b"\xfd7zXZ\x00", "xz", "`xz -dc {file}` unpacks it, and a name that ends in .xz is read as it is"),
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
    Signature(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a document of an older Office",
        "save it as text or CSV, or `soffice --headless --convert-to csv {file}` does",
    ),
    Signature(b"{\\rtf", "RTF", "save it as text, or `soffice --headless --convert-to txt:Text {file}` does"),
    Signature(b"\x93NUMPY", "a NumPy array", "bertcli reads texts"),
    Signature(b"\x89PNG\r\n\x1a\n", "a PNG image", IMAGE),
    Signature(b"\xff\xd8\xff", "a JPEG image", IMAGE),
    Signature(b"GIF87a", "a GIF image", IMAGE),
    Signature(b"GIF89a", "a GIF image", IMAGE),
    Signature(b"\x7fELF", "a program", "bertcli reads texts"),
)
OFFICE_STEP = "save it as text or CSV, or `soffice --headless --convert-to csv {file}` does"
# How the first file in a zip archive is called, in the kinds of documents that are such archives.
OFFICE = (
    (b"word/", "a Word document", "save it as text, or `soffice --headless --convert-to txt:Text {file}` does"),
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
    """Whether bytes are neither UTF-8 nor UTF-16, and one in twenty is a control character that no text has."""
    if len(head) < 64 or b"\0" not in head or head.startswith(UTF16):
        return False
    try:
        head[:-3].decode()
    except UnicodeDecodeError as error:
        return error.start < len(head) - 7 and sum(map(head.count, CONTROL)) > len(head) / 20
    return False
