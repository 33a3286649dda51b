r"""What another system said of labelled records, beside these: pairs by their order or by an id.

Opens no model: the task's `Stated` (tasks/stated.py) reads labels and predictions off the data. What comes out are
outcomes, as inference/stream.py gives them of a model, so that evaluate.py scores both alike. Knows no command.
Try: bertcli evaluate dev-v1.1.json --predictions predictions.json
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bertcli.data.formats import extension
from bertcli.data.input_formats.jsonl import LENIENT, check_values
from bertcli.data.readers import read
from bertcli.data.records import Record, is_error, lookup
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError
from bertcli.inference.stream import Outcome
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import relabelled
from bertcli.tasks.options import Options
from bertcli.tasks.stated import BaseStated

ID = "id"  # what SQuAD calls it
SHOWN = 3  # ids that a sentence names
ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})  # of TSV, where a text is still the same text
# Records with their results, sentences about what has no partner, and how many records and results have none.
Joined = tuple[list[tuple[Record, Record]], list[str], dict[str, int]]


@dataclass(frozen=True)
class Results:
    """What another system said, a record for each result. id_field: None where they are joined by order."""

    file: str
    records: Sequence[Record]
    id_field: str | None


@dataclass(frozen=True)
class System:
    """Another system, of which only results are known. reason: what they are, and how they were joined.

    outcomes: of the records that have a result. faults: sentences about what has no partner, which `counts` counts.
    """

    name: str
    reason: str
    task: BaseTask
    outcomes: Sequence[Outcome]
    faults: Sequence[str]
    counts: Mapping[str, int]


def read_results(file: str, encoding: str, id_field: str | None) -> Results:
    """The results in a file: `{id: prediction}` in one JSON document, else records in any format.

    Raises UsageError for what cannot be read.
    """
    if extension(file) == ".json" and (document := _document(Source(file, encoding))) and id_field not in document:
        field = id_field or ID
        return Results(file, [_record({field: name, "prediction": document[name]}, file) for name in document], field)
    return Results(file, list(read([file], encoding=encoding)), id_field)


def _record(fields: dict[str, object], file: str) -> Record:
    try:
        check_values(fields)
    except RecordError as error:
        return Record(line=1, source=file, fault=f"the prediction of {next(iter(fields.values()))!r}: {error}")
    return Record(fields=fields, line=1, source=file)


def _document(source: Source) -> Mapping[str, object]:
    """The object that a file is; empty where it is lines of them, or something else."""
    try:
        value = LENIENT.decode("".join(map(source.text, source.lines())))
    except (ValueError, RecursionError, RecordError):
        return {}
    return value if isinstance(value, dict) else {}


def open_system(task_class: type[BaseTask], options: Options, gold: Sequence[Record], results: Results) -> System:
    """The system whose results these are. Raises UsageError where they are not those of these records."""
    pairs, faults, counts = _by_order(gold, results) if results.id_field is None else _by_id(gold, results)
    readable = [pair for pair in pairs if not any(record.fault for record in pair)]
    stated = task_class.stated_class()
    task = stated.open(options, [record for record, _ in readable], [result for _, result in readable])
    outcomes = [
        _outcome(task, record, result, results.id_field is None)
        for labelled, result in pairs
        for record in relabelled(task_class, [labelled], options, task.classifies == "several")
    ]
    reason = f"{task.name}: predictions of {results.file}, joined by {results.id_field or 'their order'}"
    return System(Path(results.file).name, reason, task, outcomes, faults, counts)


def _by_order(gold: Sequence[Record], results: Results) -> Joined:
    if len(gold) != len(results.records):
        raise UsageError(
            f"{results.file} has predictions for {len(results.records):,} records, and there are {len(gold):,}, so "
            "they cannot be joined by their order; --id-field names a field by which they can."
        )
    return list(zip(gold, results.records, strict=True)), [], {"missing": 0, "surplus": 0}


def _by_id(gold: Sequence[Record], results: Results) -> Joined:
    by_id, faults = _results_by_id(results)
    pairs: list[tuple[Record, Record]] = []
    missing: list[str] = []
    wanted: set[str] = set()
    for record in gold:
        try:
            name = _id_of(record, results)
        except RecordError as error:
            pairs.append((replace(record, fault=str(error)), record))
            continue
        wanted.add(name)
        if name in by_id:
            pairs.append((record, by_id[name]))
        else:
            missing.append(name)
    if wanted.isdisjoint(by_id):
        ids = f"the records have ids such as {_some(missing)}, the predictions {_some(list(by_id)) or 'none'}"
        first = [*faults, *(f"{record.location}: {record.fault}" for record, _ in pairs), ids][0]
        raise UsageError(f"{results.file} has no prediction for any of the {len(gold):,} records: {first}")
    surplus = [name for name in by_id if name not in wanted]
    if missing:
        faults.append(f"{results.file}: records without a prediction: {len(missing):,}, by id {_some(missing)}.")
    if surplus:
        faults.append(f"{results.file}: predictions without a record: {len(surplus):,}, by id {_some(surplus)}.")
    return pairs, faults, {"missing": len(missing), "surplus": len(surplus)}


def _results_by_id(results: Results) -> tuple[dict[str, Record], list[str]]:
    """The results, without their ids; and what is wrong with those that have none."""
    by_id: dict[str, Record] = {}
    faults: list[str] = []
    for result in results.records:
        try:
            name = _id_of(result, results)
        except RecordError as error:
            faults.extend(result.listed(error))
            continue
        if name in by_id:
            raise UsageError(f"{result.location}: a second prediction for id '{name}'; keep one.")
        fields = {field: value for field, value in result.fields.items() if field != results.id_field}
        by_id[name] = replace(result, fields=fields)
    return by_id, faults


def _id_of(record: Record, results: Results) -> str:
    """A number and a text of the same digits are the same id. Raises RecordError for a record without one."""
    _require_readable(record)
    return str(lookup(record.fields, results.id_field or ID, "--id-field"))


def _outcome(task: BaseStated, record: Record, result: Record, is_by_order: bool) -> Outcome:
    if record.fault is not None:
        return Outcome(record, error=record.fault)
    try:
        _require_readable(result)
        if is_by_order:
            _require_same_text(task, record, result)
        return Outcome(record, task.stated(record, result))
    except RecordError as error:
        return Outcome(record, error=f"{result.location}: {error}")


def _require_readable(record: Record) -> None:
    """Raise RecordError for a fault, or an error that `predict` wrote in the place of a result."""
    if record.fault is not None:
        raise RecordError(record.fault)
    if is_error(record.fields):
        raise RecordError(f"an error, not a prediction: {record.fields['error']['message']}")


def _require_same_text(task: BaseTask, record: Record, result: Record) -> None:
    """Raise RecordError where a result, joined by order, has a text too, and it is not the record's."""
    texts = []
    for one in (record, result):
        with suppress(RecordError):
            read = task.read(one)
            texts.append([text.translate(ESCAPES) for text in ([read] if isinstance(read, str) else read)])
    if len(result.fields) > 1 and len(texts) == 2 and texts[0] != texts[1]:
        shown = " ".join(texts[1])
        raise RecordError(f"its prediction is of another text, '{shown:.40}'; --id-field joins them by an id")


def _some(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
