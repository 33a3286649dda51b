"""One file per format that can be read; its name is the format's name. It holds

    EXTENSIONS = (".tab",)    # that name it besides its own
    WHOLE = True              # only where a file is one piece, of which no process reads a part
    BY_LINE = True            # only where reading may begin at any line
    BINARY = True             # only where it is no text

    def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]

which sets `fields` and `line`, or `line` and `fault` for what cannot be read; index and source are set by readers.py.
`unlabelled` says why a record has no label to learn from, where the format has a word for it. A labelling tool's format
of JSON objects may be told by its records: it is one of TOOLS in recognition.py, and holds

    def recognises(fields: Mapping[str, Any]) -> bool

Only what makes the whole input unusable is a UsageError. columns: names given by the user, where the format has any.
A format of rows that can be counted has `count(path: str) -> int` too, and its `read` takes the first row, and that
after the last, of a shard.
"""
