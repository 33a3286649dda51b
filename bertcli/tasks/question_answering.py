"""Extractive question answering: the span of a context that answers a question, or none.

Devlin et al. 2018 (arXiv 1810.04805), sections 4.2 and 4.3. A long context is windowed; a span scores its start and
end logits less those of no answer (the first token) in the same window. That is its log-odds against no answer, which
puts the spans of all windows on one scale, whatever constant a window adds to its logits. No torch here.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks._answer_spans import Span, answers_of, best_spans, distinct, place_of, rank, whole
from bertcli.tasks.base import BaseTask, Encoded, Example, Mark, Options, Outputs, offset, text_of
from bertcli.tokenizer import Features, Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored

ALIASES = ("qa",)
DIGITS = 6  # of a printed score: what fp32 carries
KEPT = 20  # spans over which scores are shares, as in google-research/bert `run_squad.py`
NO_ANSWER = (-1, -1)


@dataclass(frozen=True)
class Gold:
    """What a labelled question allows. target: (start, end) to train on, NO_ANSWER, or None where no answer is found.

    answers: none where there is no answer. moved, lost: answers that are not at their stated offset, or nowhere.
    """

    context: str
    answers: tuple[str, ...]
    target: tuple[int, int] | None
    moved: int = 0
    lost: int = 0


class Task(BaseTask):
    """Question answering with any encoder that has a `…ForQuestionAnswering` head."""

    name = "question-answering"
    head = "QuestionAnswering"

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.is_tuned = options.null_threshold == "auto"
        stated = config.get("null_threshold")
        self.null_threshold = options.null_threshold if isinstance(options.null_threshold, int | float) else stated

    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """Each record's question and context as windows of token ids."""
        pairs = [self._pair_or_error(record) for record in records]
        good = [pair for pair in pairs if not isinstance(pair, RecordError)]
        encoded = iter(self.tokenizer.encode_contexts(good, self.options.long))
        return [pair if isinstance(pair, RecordError) else next(encoded) for pair in pairs]

    def _pair_or_error(self, record: Record) -> tuple[str, str] | RecordError:
        try:
            return self._question(record), self._context(record)
        except RecordError as error:
            return error

    def _question(self, record: Record) -> str:
        if self.options.question is not None:
            return self.options.question
        if "question" not in record.fields:
            there = ", ".join(record.fields) or "nothing"
            raise RecordError(
                f"no field 'question' (the record has: {there}); --question asks one of all, "
                "--input-format jsonl reads one with each."
            )
        return text_of(record, "question", "--question")

    def _context(self, record: Record) -> str:
        """The field `context`, else the text: with --question every line is one."""
        name = "context" if "context" in record.fields else self.options.text_field
        return text_of(record, name, "--text-field")

    def texts(self, record: Record) -> dict[str, str]:
        """Question and context. Raises RecordError."""
        return {"question": self._question(record), "context": self._context(record)}

    def combine(self, features: Features, outputs: Outputs) -> list[Span]:
        """The best spans of all windows, best first; of equal ones the first in the text."""
        kept = max(KEPT, self.options.top_k or 0)
        best: dict[tuple[int, int], float] = {}
        for window, output in zip(features.windows, outputs, strict=True):
            for score, start, end in best_spans(window, output, kept):
                best[start, end] = max(score, best.get((start, end), -np.inf))
        return sorted((Span(score, *place) for place, score in best.items()), key=rank)[:kept]

    def decode(self, record: Record, prediction: list[Span]) -> dict[str, Any]:
        """answer, start, end and score; with --top-k also answers, the best ones. No answer is "" at null."""
        context = self._context(record)
        spans = distinct(context, prediction)
        *shares, share = self._shares(spans)
        found = [self._shown(context, *pair) for pair in zip(spans, shares, strict=True)]
        nothing = {"answer": "", "start": None, "end": None, "score": round(share, DIGITS)}
        first = found[0] if self._is_answered(spans) else nothing
        given = {} if self.options.question is None else {"question": self.options.question}
        if self.options.top_k is None:
            return given | first
        candidates = [*found, nothing] if first is nothing or self.null_threshold is not None else found
        others = sorted((other for other in candidates if other is not first), key=lambda answer: -answer["score"])
        return given | first | {"answers": [first, *others][: self.options.top_k]}

    def _shares(self, spans: list[Span]) -> list[float]:
        """The softmax over the first KEPT spans; last that of no answer, 0 for a model that always answers."""
        null = 0.0 if self.null_threshold is not None or not spans else -np.inf
        scores = np.array([*(span.score for span in spans), null])
        weights = np.exp(scores - scores.max())
        total = weights[:-1][:KEPT].sum() + weights[-1]
        return [float(weight / total) for weight in weights]

    def _shown(self, context: str, span: Span, share: float) -> dict[str, Any]:
        unit = self.options.offset_unit
        start, end = (offset(context, place, unit) for place in (span.start, span.end))
        return {"answer": context[span.start : span.end], "start": start, "end": end, "score": round(share, DIGITS)}

    def _is_answered(self, spans: list[Span]) -> bool:
        return bool(spans) and (self.null_threshold is None or spans[0].score >= self.null_threshold)

    def kept(self, record: Record) -> dict[str, Any]:
        """What `label` reads, without the question."""
        names = ("context", self.options.text_field, "answers", "is_impossible", "id")
        return {name: record.fields[name] for name in names if name in record.fields}

    def label(self, record: Record) -> Gold:
        """The answers of a question: of `answers`, in SQuAD's form, or texts. Raises RecordError."""
        context = self._context(record)
        if record.fields.get("is_impossible") is True:
            return Gold(context, (), NO_ANSWER)
        answers = list(answers_of(lookup(record.fields, "answers", "--label-field")))
        if not answers:
            return Gold(context, (), NO_ANSWER)
        places = [place_of(context, text, start) for text, start in answers]
        found = [place for place in places if place is not None]
        moved = sum(
            place is not None and start is not None and place[0] != start
            for place, (_, start) in zip(places, answers, strict=True)
        )
        target = Counter(found).most_common(1)[0][0] if found else None
        return Gold(context, tuple(text for text, _ in answers), target, moved, len(places) - len(found))

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """How many answers are not where they are said to be."""
        moved, lost = sum(own.moved for own in gold), sum(own.lost for own in gold)
        unused = sum(own.target is None for own in gold)
        found = []
        if moved:
            found.append(
                f"{moved:,} answers are not at their stated offset; the nearest place with their text is taken"
            )
        if lost:
            found.append(f"{lost:,} answers do not occur in their context; {unused:,} questions have no other")
        return found

    def tuned(self, gold: Sequence[Any], predictions: Sequence[Any]) -> Self:
        """With the threshold of greatest F1 where `null_threshold` is "auto"; none where all questions have answers."""
        if not self.is_tuned:
            return self
        from bertcli.metrics import answers

        task = copy.copy(self)
        task.null_threshold = answers.threshold(*self._best(gold, predictions))
        return task

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Exact match and F1 as the official scripts have them, of answerable and unanswerable questions too."""
        from bertcli.metrics import answers

        threshold = self.null_threshold
        scores = answers.score(*self._best(gold, predictions), threshold)
        misplaced = sum(own.moved + own.lost for own in gold)
        stated = {"misplaced_answers": misplaced} if misplaced else {}
        return scores | ({} if threshold is None else {"null_threshold": threshold}) | stated

    def _best(
        self, gold: Sequence[Gold], predictions: Sequence[list[Span]]
    ) -> tuple[list[float], list[tuple[float, float]], list[bool]]:
        """Of each question's best span: its score and what it is worth; and whether there is an answer."""
        from bertcli.metrics import answers

        scorer = answers.scorer(self.options.language, [own.context for own in gold], [own.answers for own in gold])
        pairs = zip(gold, predictions, strict=True)
        values = [answers.best(scorer, own.answers, self._text(own, spans)) for own, spans in pairs]
        scores = [spans[0].score if spans else -np.inf for spans in predictions]
        return scores, values, [bool(own.answers) for own in gold]

    @staticmethod
    def _text(gold: Gold, spans: list[Span]) -> str:
        return gold.context[spans[0].start : whole(gold.context, spans[0].end)] if spans else ""

    def learned(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The threshold that was tuned."""
        return {"null_threshold": metrics["null_threshold"]} if self.is_tuned and "null_threshold" in metrics else {}

    @property
    def directions(self) -> Mapping[str, int]:
        """What gates and early stopping may name."""
        return {"f1": 1, "exact_match": 1}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The answers beside the predicted one, "" for none, which is right if it is exactly one of them."""
        values = self._values(gold, predictions)
        return list(map(self._example, records, gold, predictions, values))

    def _values(self, gold: Sequence[Gold], predictions: Sequence[list[Span]]) -> list[tuple[float, float]]:
        """Exact match and F1 of what is answered to each question."""
        from bertcli.metrics import answers

        scorer = answers.scorer(self.options.language, [own.context for own in gold], [own.answers for own in gold])
        return [
            answers.best(scorer, own.answers, self._answer(own, spans))
            for own, spans in zip(gold, predictions, strict=True)
        ]

    def _answer(self, gold: Gold, spans: list[Span]) -> str:
        return self._text(gold, spans) if self._is_answered(spans) else ""

    def _example(self, record: Record, gold: Gold, spans: list[Span], value: tuple[float, float]) -> Example:
        shares = self._shares(spans)
        score = round(shares[0] if self._is_answered(spans) else shares[-1], DIGITS)
        predicted = self._answer(gold, spans)
        marks = (Mark(spans[0].start, spans[0].start + len(predicted), "answer", score),) if predicted else ()
        known = gold.target not in (None, NO_ANSWER)
        return Example(
            record, gold.context, list(gold.answers), predicted, bool(value[0]), score, score, self._question(record),
            {"f1": round(value[1], DIGITS)}, (Mark(*gold.target, "answer"),) if known and gold.target else (), marks,
        )  # fmt: skip

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """What each answer is worth."""
        values = self._values(gold, predictions)
        return {"f1": [f1 for _, f1 in values], "exact_match": [match for match, _ in values]}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """The means over the questions."""
        from bertcli.metrics import bootstrap

        return bootstrap.weighted_means(columns)

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The answers, none included, with the scores that predict prints."""
        from bertcli.metrics.calibration import Scored

        scores, right = ([own.score for own in examples], [bool(own.right) for own in examples])
        return Scored("answers", np.array(scores), np.array(right), len(examples))
