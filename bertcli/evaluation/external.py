r"""Predictions of another system, from a file, joined to labelled records by their order or by an id.

Opens no model: the task's `ExternalTask` (tasks/base.py) reads labels and predictions from the data. The result is
outcomes, such as inference/stream.py gives for a model, so that both are scored alike. Knows no command.
Try: bertcli evaluate dev-v1.1.json --predictions predictions.json
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bertcli.data.compression import extension
from bertcli.data.formats.jsonl import LENIENT, check_values
from bertcli.data.readers import read
from bertcli.data.records import Record, is_error, lookup, names_in
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError
from bertcli.inference.stream import Outcome
from bertcli.tasks.base import BaseExternalTask, BaseTask
from bertcli.tasks.labels import relabelled
from bertcli.tasks.options import Options
from bertcli.tasks.texts import excerpt
from bertcli.tokenizer import NoTokenizer

ID = "id"  # the name of the field in SQuAD
ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})  # as TSV has them: a text with these is the same


@dataclass(frozen=True)
class System:
    """Another system, known by its results alone. reason: names the file, and how results and records were joined.

    outcomes: of the records that have a result. faults: sentences about those without a partner. counts: their number.
    """

    name: str
    reason: str
    task: BaseTask
    outcomes: Sequence[Outcome]
    faults: Sequence[str]
    counts: Mapping[str, int]


def read_results(
    file: str, encoding: str, id_field: str | None, input_format: str | None = None
) -> tuple[list[Record], str | None]:
    """The results in a file, and the name of their id field. The file is one JSON object {id: prediction}, or records.

    Raises UsageError for what cannot be read.
    """
    document: object = None
    pairs: list[tuple[str, Any]] = []  # of the outermost object, which is finished last; an id may be there twice

    def kept(members: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = members
        return dict(members)

    if extension(file) == ".json":
        source, parse = Source(file, encoding), LENIENT
        decoder = json.JSONDecoder(
            object_pairs_hook=kept, parse_constant=parse.parse_constant, parse_float=parse.parse_float,
            parse_int=parse.parse_int,
        )  # fmt: skip
        with suppress(ValueError, RecursionError, RecordError):
            document = decoder.decode("".join(map(source.text, source.lines())))
    if not isinstance(document, dict) or not document or id_field in document:  # lines of objects, or something else
        return list(read([file], input_format=input_format, encoding=encoding)), id_field
    field, records = id_field or ID, []
    for name, value in pairs:
        record = Record(fields={field: name, "prediction": value}, line=1, source=file)
        try:
            check_values(record.fields)
        except RecordError as error:
            record = Record(line=1, source=file, fault=f"the prediction of {name!r}: {error}")
        records.append(record)
    return records, field


def open_system(
    task_class: type[BaseTask], options: Options, gold: Sequence[Record], results: Sequence[Record], file: str,
    id_field: str | None,
) -> System:  # fmt: skip
    """Join the results of a file to the gold records. Raises UsageError where they are of other records."""
    if id_field:
        pairs, faults, counts = _by_id(gold, results, file, id_field)
    elif len(gold) == len(results):
        # Results without texts may be in another order, and nothing but the ids would tell.
        ids, other = ([str(record.fields.get(ID)) for record in side] for side in (gold, results))
        if ids != other and sorted(ids) == sorted(other):
            raise UsageError(f"{file} has the records' ids in another order; --id-field {ID} joins them by these.")
        pairs, faults, counts = list(zip(gold, results, strict=True)), [], {"missing": 0, "surplus": 0}
    else:
        raise UsageError(
            f"{file} has predictions for {len(results):,} records, and there are {len(gold):,}, so "
            "they cannot be joined by their order; --id-field names a field by which they can."
        )
    readable = [pair for pair in pairs if not any(record.fault for record in pair)]
    external: type[BaseExternalTask] | None = getattr(import_module(task_class.__module__), "ExternalTask", None)
    if external is None:
        raise UsageError(f"--predictions: {task_class.name} does not read what others predicted.")
    config = external.config_for(options, [record for record, _ in readable], [result for _, result in readable])
    task = external(NoTokenizer(), config, options)
    outcomes = [
        _outcome(task, record, result, is_by_order=not id_field)
        for labelled, result in pairs
        for record in relabelled(task_class, [labelled], options, task.classifies == "several")
    ]
    reason = f"{task.name}: predictions of {file}, joined by {id_field or 'their order'}"
    return System(Path(file).name, reason, task, outcomes, faults, counts)


def _by_id(
    gold: Sequence[Record], results: Sequence[Record], file: str, id_field: str
) -> tuple[list[tuple[Record, Record]], list[str], dict[str, int]]:
    """Pairs of record and result, sentences about those without a partner, and the number of both."""
    faults: list[str] = []
    by_id: dict[str, Record] = {}
    for name, result in _named(results, id_field, faults):
        if name in by_id:
            raise UsageError(f"{result.location}: a second prediction for id '{name}'; keep one.")
        fields = {field: value for field, value in result.fields.items() if field != id_field}
        by_id[name] = replace(result, fields=fields)
    known: dict[str, Record] = {}
    for name, record in _named(gold, id_field, faults):
        if name in known:
            raise UsageError(f"{record.location}: a second record with id '{name}'; --id-field names one of its own.")
        known[name] = record
    pairs = [(record, by_id[name]) for name, record in known.items() if name in by_id]
    missing = [name for name in known if name not in by_id]
    surplus = [name for name in by_id if name not in known]
    if not pairs:
        ids = f"the records have ids such as {names_in(missing)}, the predictions {names_in(by_id) or 'none'}"
        raise UsageError(f"{file} has no prediction for any of the {len(gold):,} records: {[*faults, ids][0]}")
    for what, names in (("records without a prediction", missing), ("predictions without a record", surplus)):
        if names:
            faults.append(f"{file}: {what}: {len(names):,}, by id {names_in(names)}.")
    return pairs, faults, {"missing": len(missing), "surplus": len(surplus)}


def _named(records: Sequence[Record], id_field: str, faults: list[str]) -> Iterator[tuple[str, Record]]:
    """Records with their ids; 7 and "7" are the same. Errors of records without an id are added to `faults`."""
    for record in records:
        try:
            _require_readable(record)
            yield str(lookup(record.fields, id_field, "--id-field")), record
        except RecordError as error:
            faults.extend(record.listed(error))


def _outcome(task: BaseExternalTask, record: Record, result: Record, is_by_order: bool) -> Outcome:
    if record.fault is not None:
        return Outcome(record, error=record.fault)
    try:
        _require_readable(result)
        if is_by_order:
            _require_same_text(task, record, result)
        return Outcome(record, task.external_prediction(record, result))
    except RecordError as error:
        return Outcome(record, error=f"{result.location}: {error}")


def _require_readable(record: Record) -> None:
    """Raise RecordError for a fault, or for an error that `predict` wrote in the place of a result."""
    if record.fault is not None:
        raise RecordError(record.fault)
    error = record.fields.get("error")
    if is_error(record.fields):
        raise RecordError(f"an error, not a prediction: {record.fields['error']['message']}")
    if error and not any(value for name, value in record.fields.items() if name != "error"):
        raise RecordError(f"an error, not a prediction: {error}")


def _require_same_text(task: BaseTask, record: Record, result: Record) -> None:
    """Raise RecordError where a result, joined by order, has another text with other words."""
    try:
        read = [(" ".join(task.texts(one).values()).translate(ESCAPES), task.read(one)) for one in (record, result)]
    except RecordError:
        return
    (text, words), (other, other_words) = read
    if len(result.fields) > 1 and text != other and words != other_words:
        raise RecordError(f"its prediction is of another text, '{excerpt(other)}'; --id-field joins them by an id")
