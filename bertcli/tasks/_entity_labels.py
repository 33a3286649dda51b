"""The gold entities of a record: of `tokens` with `tags` in any scheme, or of a text with `entities`."""

from collections.abc import Iterable, Mapping
from typing import Any

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import Span


def entity_types(record: Record, field: str) -> set[str]:
    """The types of a labelled record's entities, whatever its words are. Raises RecordError."""
    if "tokens" in record.fields:
        return {span.type for span in gold_of_tags(record, field)}
    return {kind for _, _, kind in _triples(record)}


def gold_of_tags(record: Record, field: str, scheme: str = "auto") -> list[Span]:
    """The entities of a record with tokens and tags, one tag for each token. Raises RecordError.

    scheme: any but auto refuses tags that it would not write so.
    """
    given = tags_of(record, field)
    demand((i, fault) for i, tag in enumerate(given) if (fault := entities.fault(tag)))
    found = entities.spans(given)
    if scheme == "auto":
        return found
    expected = entities.tags(found, len(given), scheme)  # type: ignore[arg-type]
    demand(
        (i, f"the tag {tag} of token {i + 1} is not {scheme}, which would have {other} there.")
        for i, (tag, other) in enumerate(zip(given, expected, strict=True))
        if tag != other
    )
    return found


def demand(faults: Iterable[tuple[int, str]]) -> None:
    """Raise RecordError with all of them, each at its token, unless there are none."""
    if found := list(faults):
        raise RecordError(found[0][1], found)


def tags_of(record: Record, field: str) -> list[str]:
    """The tags of a record with tokens. Raises RecordError unless there is one for each token."""
    name = field if field in record.fields else "tags"
    given = lookup(record.fields, name, "--label-field")
    if not (isinstance(given, list) and all(isinstance(tag, str) for tag in given)):
        raise RecordError(f"field '{name}' is not a list of tags.")
    if len(given) != len(record.fields["tokens"]):
        raise RecordError(f"{len(given)} tags for {len(record.fields['tokens'])} tokens.")
    return given


def gold_of_text(record: Record, length: int, places: list[tuple[int, int]]) -> tuple[list[Span], list[Span]]:
    """The entities of a record with text and `entities` (start, end, type), on its words; and those that are not.

    The latter, over all words that they touch, begin or end inside a word, or overlap one that begins before or is
    longer. Raises RecordError for what is no entity of a text of that length.
    """
    found: list[Span] = []
    lost: list[Span] = []
    for start, end, kind in sorted(_triples(record), key=lambda item: (item[0], -item[1])):
        if not 0 <= start < end <= length:
            raise RecordError(f"the entity at {start} to {end} is not in the text of {length} characters.")
        own = [i for i, (begins, ends) in enumerate(places) if begins < end and ends > start]
        span = Span(own[0], own[-1] + 1, kind) if own else Span(0, 0, kind)
        is_whole = own and (places[own[0]][0], places[own[-1]][1]) == (start, end)
        is_free = not found or span.start >= found[-1].end
        (found if is_whole and is_free else lost).append(span)
    return found, lost


def _triples(record: Record) -> list[tuple[int, int, str]]:
    if "entities" not in record.fields:
        there = ", ".join(record.fields) or "nothing"
        raise RecordError(
            f"no 'entities', nor 'tokens' with 'tags' (the record has: {there}); --input-format conll reads columns."
        )
    given = record.fields["entities"]
    if not isinstance(given, list):
        raise RecordError("field 'entities' is not a list.")
    return [_triple(item) for item in given]


def _triple(item: Any) -> tuple[int, int, str]:
    try:
        values = [item["start"], item["end"], item.get("type") or item["label"]] if isinstance(item, Mapping) else item
        start, end, kind = values
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"{item!r} is no entity; write start, end and type.") from None
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(kind, str)):
        raise RecordError(f"{item!r} is no entity; start and end are integers, type is text.")
    return start, end, kind
