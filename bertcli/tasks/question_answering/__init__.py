"""Extractive question answering: the span of a context that answers a question, or none.

Devlin et al. 2018 (arXiv 1810.04805), sections 4.2 and 4.3. A long context has several windows. A span's score is the
sum of its start and end logits less that of no answer (the first token) in the same window: its log-odds against no
answer, which puts the spans of all windows on one scale. No torch here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from bertcli.arrays import Arrays, Features, Window
from bertcli.data.records import Record, lookup, names_in
from bertcli.errors import RecordError
from bertcli.tasks.base import BaseExternalTask, BaseTask, Encoded, Outputs, from_cell
from bertcli.tasks.labels import Decision, Doubt
from bertcli.tasks.options import Options
from bertcli.tasks.texts import DIGITS, Example, Mark, excerpt, grapheme_end, grapheme_start, in_offset_unit, text_of
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored


ALIASES = ("qa",)
KEPT = 20  # spans in the softmax, as in google-research/bert `run_squad.py`
LONGEST = 40  # tokens of an answer; SQuAD's longest has 46, CMRC's have 15 on average
NO_ANSWER = (-1, -1)


class Span(NamedTuple):
    """A part of a context, in code points. score: log-odds against no answer in its window."""

    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Gold:
    """The answers to a question. target: (start, end) to train on, NO_ANSWER, or None if no answer is in the context.

    answers: empty for an unanswerable question. moved, lost: how many are not at their stated offset, or nowhere.
    """

    context: str
    answers: tuple[str, ...]
    target: tuple[int, int] | None
    moved: int = 0
    lost: int = 0


class Task(BaseTask):
    """Question answering with any encoder that has a `…ForQuestionAnswering` head."""

    head = "QuestionAnswering"
    accepts = frozenset({"language", "null_threshold", "offset_unit", "question", "top_k"})
    decision = Decision("question_answering", ["start", "end"], "the first and the last token of the answer")
    model_outputs = MappingProxyType({"start_logits": 2, "end_logits": 2})
    inputs = ("context",)
    labelled_by = ({"context", "answers"},)
    shared_text = "context"
    directions = MappingProxyType({"f1": 1, "exact_match": 1})

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.label_field = "answers" if options.label_field == Options.label_field else options.label_field
        self.is_tuned = options.null_threshold == "auto"
        stated = config.get("null_threshold")
        self.null_threshold = options.null_threshold if isinstance(options.null_threshold, int | float) else stated
        first = {"answer": "", "start": 0, "end": 0, "score": 0.5}
        self.example = {} if options.question is None else {"question": ""}
        self.example |= first | ({} if options.top_k is None else {"answers": [first]})

    def tokenize(self, inputs: Sequence[tuple[str, str]]) -> list[Encoded]:
        """Windows of each context, every one with the question."""
        return self.tokenizer.encode_contexts(inputs, self.options.long)

    def sample(self, text: str) -> dict[str, Any]:
        """A question about the text."""
        return {"question": "what is it", "context": text}

    def _context(self, record: Record) -> str:
        """The field `context`, else the text: with --question every line is a context."""
        name = "context" if "context" in record.fields else self.options.text_field
        return text_of(record, name, "--text-field")

    def texts(self, record: Record) -> dict[str, str]:
        """Question and context. Raises RecordError."""
        question = self.options.question
        if question is None and "question" not in record.fields:
            there = names_in(record.fields) or "nothing"
            raise RecordError(
                f"no field 'question' (the record has: {there}); SQuAD's JSON and JSONL have one with each "
                "context, and the --question of predict and evaluate asks one of all."
            )
        if question is None:
            question = text_of(record, "question", "--question")
        return {"question": question, "context": self._context(record)}

    def combine(self, features: Features, outputs: Outputs) -> list[Span]:
        """The best spans of all windows, best first, equal ones in the order of the text."""
        count = max(KEPT, self.options.top_k or 0)
        best: dict[tuple[int, int], float] = {}
        for window, output in zip(features.windows, outputs, strict=True):
            for score, start, end in best_spans(window, output, count):
                best[start, end] = max(score, best.get((start, end), -np.inf))
        ranked = sorted((-score, *position) for position, score in best.items())
        return [Span(-score, start, end) for score, start, end in ranked[:count]]

    def decode(self, record: Record, prediction: list[Span]) -> dict[str, Any]:
        """answer, start, end and score; with --top-k also answers, the best ones. No answer is "", at null."""
        context = self._context(record)
        spans = distinct(context, prediction)
        *probabilities, probability = self._probabilities(spans)
        if self.options.top_k is None:
            del spans[1:]  # only now: the probabilities are over all spans
        positions = [position for span in spans for position in (span.start, span.end)]
        units = in_offset_unit(context, positions, self.options.offset_unit)
        answers: list[dict[str, Any]] = [
            {
                "answer": context[span.start : span.end],
                "start": units[span.start],
                "end": units[span.end],
                "score": round(probability, DIGITS),
            }
            for span, probability in zip(spans, probabilities, strict=False)
        ]
        nothing = {"answer": "", "start": None, "end": None, "score": round(probability, DIGITS)}
        first = answers[0] if self._is_answered(spans) else nothing
        question = {} if self.options.question is None else {"question": self.options.question}
        if self.options.top_k is None:
            return question | first
        candidates = [*answers, nothing] if first is nothing or self.null_threshold is not None else answers
        others = sorted((other for other in candidates if other is not first), key=lambda answer: -answer["score"])
        return question | first | {"answers": [first, *others][: self.options.top_k]}

    def _probabilities(self, spans: list[Span]) -> list[float]:
        """The softmax over the first KEPT spans and, last, no answer, which is 0 for a model that always answers."""
        null = 0.0 if self.null_threshold is not None or not spans else -np.inf
        scores = np.array([*(span.score for span in spans), null])
        weights = np.exp(scores - scores.max())
        total = weights[:-1][:KEPT].sum() + weights[-1]
        return [float(weight / total) for weight in weights]

    def _is_answered(self, spans: list[Span]) -> bool:
        return bool(spans) and (self.null_threshold is None or spans[0].score >= self.null_threshold)

    def label_fields(self, record: Record) -> dict[str, Any]:
        """The fields that `label` reads; the question is not among them."""
        names = (self.label_field, self.label_field.partition(".")[0], "is_impossible", "id")
        kept = {name: record.fields[name] for name in names if name in record.fields}
        return {"context": self._context(record), **kept}

    def label(self, record: Record) -> Gold:
        """From `answers`, or the --label-field: texts with offsets, as SQuAD or `datasets` write them, or bare texts.

        Raises RecordError for invalid answers.
        """
        context = self._context(record)
        if record.fields.get("is_impossible") is True:
            return Gold(context, (), NO_ANSWER)
        value = from_cell(lookup(record.fields, self.label_field, "--label-field"))
        if isinstance(value, Mapping) and isinstance(value.get("text"), list):
            texts, starts = value["text"], value.get("answer_start") or [None] * len(value["text"])
            if not isinstance(starts, list) or len(starts) != len(texts):
                raise RecordError(f"{value!r}: as many answer_start as text are needed.")
            value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        answers: list[str] = []
        known: list[tuple[int, int]] = []  # where they are
        moved = 0
        for item in value if isinstance(value, list) else [value]:
            fields = item if isinstance(item, Mapping) else {"text": item}
            text, start = fields.get("text"), fields.get("answer_start", fields.get("start"))
            if not isinstance(text, str) or not isinstance(start, int | None) or isinstance(start, bool):
                raise RecordError(f"{item!r} is no answer; write its text and answer_start.")
            if not text.strip():
                continue  # "" means no answer, as in an empty cell of a table or in what `predict` writes.
            answers.append(text)
            if position := position_of(context, text, start):
                known.append(position)
                moved += start is not None and position[0] != start
        if not answers:
            return Gold(context, (), NO_ANSWER)
        target = Counter(known).most_common(1)[0][0] if known else None
        return Gold(context, tuple(answers), target, moved, len(answers) - len(known))

    def label_names(self, gold: Gold) -> list[str]:
        """Whether there is an answer."""
        return ["answer" if gold.answers else "no answer"]

    def agree(self, gold: Gold, other: Gold) -> bool:
        """Whether they share an answer or both have none: two annotators may give two right answers."""
        return not (gold.answers or other.answers) or not set(gold.answers).isdisjoint(other.answers)

    def doubts(self, record: Record, gold: Gold) -> Iterator[Doubt]:
        """Answers that are not at their stated offset, or nowhere in the context."""
        shown = ", ".join(f"'{excerpt(answer)}'" for answer in dict.fromkeys(gold.answers))
        if gold.lost:
            yield "lost-answer", f"{gold.lost} of {len(gold.answers)}: {shown}"
        if gold.moved:
            nearest = f"; the nearest is at {gold.target[0]}" if gold.target and len(gold.answers) == 1 else ""
            yield "misplaced-answer", f"{gold.moved} of {len(gold.answers)}: {shown}{nearest}"

    def token_doubts(self, record: Record, features: Features) -> Iterator[Doubt]:
        """An answer that begins or ends inside a token. Raises RecordError."""
        offsets = features.windows[0].offsets
        if offsets is None or (gold := self.label(record)).target in (None, NO_ANSWER):
            return
        assert gold.target is not None
        start, end = gold.target
        touched = [(first, last) for first, last in offsets.tolist() if first < end and last > start]
        if touched and (touched[0][0] < start or touched[-1][1] > end):
            around = gold.context[touched[0][0] : touched[-1][1]]
            yield "answer-border", f"'{excerpt(gold.context[start:end])}' in '{excerpt(around, 60)}'"

    def warnings(self, gold: Sequence[Gold]) -> list[str]:
        """How many answers are not at their stated offset, or nowhere in the context."""
        moved, lost = sum(target.moved for target in gold), sum(target.lost for target in gold)
        unused = sum(target.target is None for target in gold)
        messages = []
        if moved:
            messages.append(
                f"{moved:,} answers are not at their stated offset; the nearest place with their text is taken"
            )
        if lost:
            messages.append(f"{lost:,} answers do not occur in their context; {unused:,} questions have no other")
        return messages

    def tuned(self, gold: Sequence[Gold], predictions: Sequence[list[Span]]) -> Self:
        """The task with the threshold that is best on this data, for --null-threshold auto."""
        from bertcli.metrics import answers

        if not self.is_tuned:
            return self
        scores = [spans[0].score if spans else -np.inf for spans in predictions]
        values = self._values(gold, [self._text(*pair) for pair in zip(gold, predictions, strict=True)])
        tuned = copy(self)
        tuned.null_threshold = answers.threshold(scores, values, [bool(one.answers) for one in gold])
        return tuned

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[list[Span]]) -> dict[str, Any]:
        """Exact match and F1 as in the official scripts, also of answerable and unanswerable questions alone."""
        from bertcli.metrics import answers

        values = self._values(gold, self._answers(gold, predictions))
        scores = answers.score(values, [bool(one.answers) for one in gold])
        misplaced = sum(one.moved + one.lost for one in gold)
        stated = {} if self.null_threshold is None else {"null_threshold": self.null_threshold}
        return scores | stated | ({"misplaced_answers": misplaced} if misplaced else {})

    def _values(self, gold: Sequence[Gold], texts: Sequence[str]) -> list[tuple[float, float]]:
        """Exact match and F1 of a text as the answer to each question."""
        from bertcli.metrics import answers

        scorer = answers.scorer(self.options.language, [one.context for one in gold], [one.answers for one in gold])
        return [answers.best(scorer, one.answers, text) for one, text in zip(gold, texts, strict=True)]

    @staticmethod
    def _text(gold: Gold, spans: list[Span]) -> str:
        return "".join(gold.context[span.start : span.end] for span in distinct(gold.context, spans[:1]))

    def _answers(self, gold: Sequence[Gold], predictions: Sequence[list[Span]]) -> list[str]:
        pairs = zip(gold, predictions, strict=True)
        return [self._text(one, spans) if self._is_answered(spans) else "" for one, spans in pairs]

    def learned(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The threshold that was tuned."""
        return {"null_threshold": metrics["null_threshold"]} if self.is_tuned and "null_threshold" in metrics else {}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The gold answers and the predicted one ("" for none), which is right if it exactly matches one of them."""
        texts = self._answers(gold, predictions)
        return list(map(self._example, records, gold, predictions, texts, self._values(gold, texts)))

    def _example(
        self, record: Record, gold: Gold, spans: list[Span], predicted: str, value: tuple[float, float]
    ) -> Example:
        probabilities = self._probabilities(distinct(gold.context, spans))
        score = round(probabilities[0] if self._is_answered(spans) else probabilities[-1], DIGITS)
        marks = (Mark(spans[0].start, spans[0].start + len(predicted), "answer", score),) if predicted else ()
        known = gold.target not in (None, NO_ANSWER)
        question = self.texts(record)["question"]
        return Example(
            record, gold.context, list(gold.answers), predicted, bool(value[0]), score, score, question,
            {"f1": round(value[1], DIGITS)}, (Mark(*gold.target, "answer"),) if known and gold.target else (), marks,
        )  # fmt: skip

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Exact match and F1 of each predicted answer."""
        values = self._values(gold, self._answers(gold, predictions))
        return {"f1": [f1 for _, f1 in values], "exact_match": [match for match, _ in values]}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """The means over the questions."""
        from bertcli.metrics import bootstrap

        return bootstrap.weighted_means(columns)

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The predicted answers, "" included, with the scores that `predict` prints."""
        from bertcli.metrics.calibration import Scored

        scores, right = ([example.score for example in examples], [bool(example.right) for example in examples])
        return Scored("answers", np.array(scores), np.array(right), len(examples))


def best_spans(window: Window, output: Arrays, count: int) -> list[tuple[float, int, int]]:
    """The best spans of a window: at most LONGEST tokens of the context, with characters at both ends."""
    offsets = window.offsets
    assert offsets is not None  # of a context
    tokens = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    if not len(tokens):
        return []
    starts, ends = (output[name].astype(np.float64) for name in ("start_logits", "end_logits"))
    padded = np.concatenate([(ends - ends[0])[tokens], np.full(LONGEST - 1, -np.inf)])
    # (N, LONGEST) view; NumPy's sliding_window_view makes the same, but takes a fifth of the time of this function.
    windows = np.ndarray((len(tokens), LONGEST), padded.dtype, padded, strides=padded.strides * 2)
    scores = (starts - starts[0])[tokens][:, None] + windows
    flat = scores.ravel()  # of token i and the k-th after it at i * LONGEST + k
    best = np.argpartition(-flat, min(count, len(flat)) - 1)[:count]
    best = best[np.isfinite(flat[best])]
    first, last = tokens[best // LONGEST], tokens[best // LONGEST + best % LONGEST]
    return list(zip(flat[best].tolist(), offsets[first, 0].tolist(), offsets[last, 1].tolist(), strict=True))


def distinct(context: str, spans: Sequence[Span]) -> list[Span]:
    """The spans, extended to whole characters at both ends; of equal ones the best."""
    best: dict[tuple[int, int], float] = {}
    for span in spans:
        start = grapheme_start(context, span.start)
        best.setdefault((start, grapheme_end(context, start, span.end)), span.score)
    return [Span(score, *position) for position, score in best.items()]


def position_of(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where the text is in the context, nearest to its stated offset; None if it is not there."""
    stated = start or 0
    if not text.strip():
        return None
    if context.startswith(text, stated) and stated >= 0:
        return stated, stated + len(text)
    before, after = context.rfind(text, 0, max(stated, 0) + len(text)), context.find(text, max(stated, 0))
    starts = [i for i in (before, after) if i >= 0]
    if not starts:
        return None
    nearest = min(starts, key=lambda i: abs(i - stated))
    return nearest, nearest + len(text)


class ExternalTask(BaseExternalTask, Task):
    """A prediction is a text, "" where there is no answer. It need not be in the context."""

    names = ("answer", "prediction_text")

    def external_prediction(self, record: Record, result: Record) -> str:
        """The text of an answer. Raises RecordError."""
        value = self.value(self.options, result)
        if not isinstance(value, str):
            raise RecordError(f"the answer {excerpt(repr(value), 60)} is not text; '' says that there is none.")
        return value

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> dict[str, Any]:
        """Exact match and F1, as of a model that has no threshold."""
        from bertcli.metrics import answers

        return answers.score(self._values(gold, predictions), [bool(one.answers) for one in gold])

    def _answers(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> list[str]:
        return list(predictions)

    def _example(
        self, record: Record, gold: Gold, prediction: Any, predicted: str, value: tuple[float, float]
    ) -> Example:
        position = position_of(gold.context, predicted, None)
        spans = [Span(0.0, *position)] if position else []
        return replace(super()._example(record, gold, spans, predicted if spans else "", value), predicted=predicted)
