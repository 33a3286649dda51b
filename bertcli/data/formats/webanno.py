r"""WebAnno's and INCEpTION's TSV 3: sentences, their tokens a line each, and columns for layers of annotations.

A record is a sentence, or as many as a span goes over. Entities are the annotations of span layers, but not those of
DKPro about tokens (part of speech, lemma, morphology). The type is the layer's feature `value`, else its first one,
else its name; other features stay beside it. Relations and chains are not read. Offsets count UTF-16, of the whole
document; here they count code points of the record's text. The text is that of `#Text=`, which the format holds to be
authoritative (webanno#617).

Try: bertcli predict -t ner --input-format webanno annotated.tsv
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bertcli.data.formats.labelling import code_points
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError

FORMAT = "#FORMAT=WebAnno TSV 3"
TEXT = "#Text="
TOKENS = re.compile(r"de\.tudarmstadt\.ukp\.dkpro\.core\.api\.(?!ner\.type\.)")  # DKPro's layers that are no entities
VALUES = re.compile(r"(?:\\.|[^|\\])+")  # of annotations that are stacked on one token
ID = re.compile(r"\[(\d+)\]$")  # of an annotation of several tokens, or of one that is stacked
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
OFFSETS = re.compile(r"\d{1,9}-\d{1,9}")
APART = 1000  # line ends that may be between two sentences
EMPTY = ("_", "*")  # no annotation; one without a value


class Layer(NamedTuple):
    """name: without its package. type: the feature that is an entity's. features: names and columns; "" for none."""

    name: str
    type: str
    features: tuple[tuple[str, int], ...]


@dataclass
class Span:
    """Where an annotation is, in UTF-16 units of the document, and its features."""

    start: int
    end: int
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class Sentence:
    """One or several. line: where it begins. start: its offset. spans: by layer and id, or row. fault: where and what.

    units: the code point of each UTF-16 unit of its text; none before the first token, which tells where it begins.
    """

    line: int = 0
    texts: list[str] = field(default_factory=list)
    start: int = 0
    units: list[int] = field(default_factory=list)
    spans: dict[tuple[Layer, str], Span] = field(default_factory=dict)
    fault: tuple[int, str] | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.texts)


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"text", "entities"}. Raises UsageError for what does not begin as WebAnno TSV 3."""
    if not source.begin()[0].startswith(FORMAT):
        raise UsageError(f"{source.shown}:1: no WebAnno TSV 3, which begins with {FORMAT}; export it in that format")
    pending: Sentence | None = None
    for sentence in _sentences(source):
        if pending and pending.spans.keys().isdisjoint(sentence.spans):
            yield _record(pending)
            pending = None
        pending = _joined(pending, sentence) if pending else sentence
    if pending:
        yield _record(pending)


def _sentences(source: Source) -> Iterator[Sentence]:
    layers, width, sentence = list[Layer](), 3, Sentence()  # width: columns of all layers so far
    for number, line in source.texts():
        is_text = isinstance(line, str) and line.startswith(TEXT)
        if sentence.line and (not line or (is_text and sentence.units)):
            yield sentence
            sentence = Sentence()
        sentence.line = sentence.line or (number if is_text or isinstance(line, RecordError) else 0)
        try:
            if isinstance(line, RecordError):
                raise line
            if is_text:  # a line end in a sentence parts its text in two of these lines
                sentence.texts.append(_plain(line.removeprefix(TEXT)))
            elif line.startswith("#T_"):
                name, *features = (part.strip() for part in line[6:].split("|"))
                # A slot has two columns, of roles and of what is in it: neither is a value of the span.
                slots = {i for i, feature in enumerate(features) if feature.startswith("ROLE_")}
                values = {feature: width + i for i, feature in enumerate(features) if slots.isdisjoint((i, i - 1))}
                values = values or {"": width}
                if line.startswith("#T_SP=") and not TOKENS.match(name):
                    type_ = "value" if "value" in values else next(iter(values))
                    layers.append(Layer(name.rpartition(".")[2], type_, tuple(values.items())))
                width += max(1, len(features))
            elif line and not line.startswith("#"):
                sentence.line = sentence.line or number
                _add(sentence, line.split("\t"), layers, width)
        except RecordError as error:
            sentence.fault = sentence.fault or (number, str(error))
    if sentence.line:
        yield sentence


def _add(sentence: Sentence, cells: list[str], layers: Sequence[Layer], width: int) -> None:
    """A token, or a part of one, with what is annotated there. Raises RecordError for a line that is broken."""
    if len(cells) < width or not OFFSETS.fullmatch(cells[1]):
        raise RecordError(f"no token of WebAnno's: {len(cells)} columns of {width}, or no START-END in the second")
    start, end = map(int, cells[1].split("-"))
    token, text = _plain(cells[2]), sentence.text
    if not sentence.units:
        sentence.units = code_points(text)
        sentence.start = start - sentence.units.index(max(0, text.find(token)))
    units, first, last = sentence.units, start - sentence.start, end - sentence.start
    if not 0 <= first <= last < len(units) or text[units[first] : units[last]] != token:
        raise RecordError(f"the text at {cells[1]} is not this token")
    for layer in layers:
        for feature, column in layer.features:
            for value in VALUES.findall(cells[column]):
                number = ID.search(value)
                raw = value[: number.start()] if number else value
                if number or raw != "_":
                    span = sentence.spans.setdefault((layer, number[1] if number else cells[0]), Span(start, end))
                    span.start, span.end = min(span.start, start), max(span.end, end)
                    span.values |= {feature: _plain(raw)} if feature and raw not in EMPTY else {}


def _joined(first: Sentence, second: Sentence) -> Sentence:
    """Two sentences that a span goes over; between them are line ends, as the offsets leave room for."""
    gap = second.start - first.start - len(first.units) + 1
    if not 0 <= gap <= APART:
        fault = f"the sentence begins {gap} characters after the one before, with which it shares an annotation"
        return Sentence(second.line, fault=first.fault or (second.line, fault))
    spans = dict(first.spans)
    for key, span in second.spans.items():
        other = spans.setdefault(key, span)
        other.start, other.end = min(other.start, span.start), max(other.end, span.end)
    text = first.text + "\n" * gap + second.text
    return Sentence(first.line, [text], first.start, code_points(text), spans, first.fault or second.fault)


def _record(sentence: Sentence) -> Record:
    if sentence.fault:
        line, fault = sentence.fault
        return Record(line=line, fault=fault)
    entities = []
    for (layer, _), span in sorted(sentence.spans.items(), key=lambda item: (item[1].start, item[1].end)):
        start, end = (sentence.units[offset - sentence.start] for offset in (span.start, span.end))
        rest = {name: value for name, value in span.values.items() if name != layer.type}
        entity: dict[str, Any] = {"start": start, "end": end, "type": span.values.get(layer.type, layer.name)}
        entities.append(entity | {"layer": layer.name} | ({"features": rest} if rest else {}))
    return Record(fields={"text": sentence.text, "entities": entities}, line=sentence.line)


def _plain(text: str) -> str:
    """Without the escapes, those of Java too, which older versions write. Raises RecordError for half a character."""
    plain = ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else ESCAPES.get(match[2], match[2]), text)
    try:
        return plain if plain.isascii() else plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise RecordError("half of a surrogate pair, which no UTF-8 text can hold") from None
