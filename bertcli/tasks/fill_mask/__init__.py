"""Fill-mask: the likeliest tokens for each mask of a text, from any masked-language-model head.

A long text has several windows; a mask is filled from the one with most context around it. No torch here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.arrays import Batch, Features
from bertcli.data.records import Record, lookup
from bertcli.errors import ModelError, RecordError
from bertcli.tasks.base import BaseExternalTask, BaseTask, Encoded, Outputs, from_cell
from bertcli.tasks.labels import Decision
from bertcli.tasks.options import Options
from bertcli.tasks.texts import DIGITS, Example, excerpt, text_of
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored


ALIASES = ("mask",)
SHOWN = 5  # guesses for a mask without --top-k
RANKED = 10  # guesses that `evaluate` looks at
Guesses = list[list[tuple[int, float]]]  # of each mask: token id and probability, best first
Rank = int | None  # from 1; None where the answer is not among the guesses
GAINS: Mapping[str, Callable[[Rank], float]] = {  # what a rank adds to each metric, a mean over the answers
    "accuracy": lambda rank: rank == 1,
    "accuracy_at_5": lambda rank: rank is not None and rank <= 5,
    "accuracy_at_10": lambda rank: rank is not None and rank <= 10,
    "mrr": lambda rank: 1 / rank if rank else 0.0,
}


class Task(BaseTask):
    """Fill-mask with any encoder that has a `…ForMaskedLM` head (Devlin et al. 2018, arXiv 1810.04805, section 3.1)."""

    head = "MaskedLM"
    model_outputs = MappingProxyType({"logits": 3})
    accepts = frozenset({"mask", "top_k"})
    decision = Decision("fill_mask", [], "the token of each mask")
    directions = MappingProxyType(dict.fromkeys(GAINS, 1))
    more_heads = ("PreTraining",)  # BERT's own: this head, and one for pairs of sentences

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        if config.get("is_decoder"):
            raise ModelError(
                "config.json: is_decoder says that the model guesses the word that comes next, not one that is masked; "
                "bertcli pretrain -m MODEL --objective mlm makes it learn that."
            )
        self.mask, self.mask_id = tokenizer.mask
        self.kept_guesses = max(options.top_k or SHOWN, RANKED)
        self.example = {"masks": [[{"token": "", "score": 0.5}]], "filled": ""}

    def read(self, record: Record) -> str:
        """The text with its masks. Raises RecordError where it has none."""
        text = self._text(record)
        if self.mask not in text:
            where = f"no {self.mask} in the text; it says where a word is missing"
            raise RecordError(f"{where} (the --mask of predict and evaluate names another).")
        return text

    def sample(self, text: str) -> dict[str, Any]:
        """The text and a mask."""
        return super().sample(f"{text} {self.mask}")

    def tokenize(self, inputs: Sequence[str]) -> list[Encoded]:
        """Windows that count the masks from 0."""
        return self.tokenizer.encode_marked(inputs, self.mask_id, self.options.long)

    def _text(self, record: Record) -> str:
        """The record's text, with the model's own mask token in place of --mask."""
        text = text_of(record, self.options.text_field, "--text-field")
        return text.replace(self.options.mask, self.mask) if self.options.mask else text

    def reduce(self, batch: Batch, outputs: Batch) -> Batch:
        """Logits (B, T, V) to ids and scores (B, M, K) of the best K tokens for at most M masks, from the left."""
        masked = batch["input_ids"] == self.mask_id
        logits = outputs["logits"][masked].astype(np.float64)  # (masks, V)
        pieces = logits[:, : self.tokenizer.rows]  # A model may have more rows, which mean nothing.
        count = min(self.kept_guesses, pieces.shape[-1])
        best = np.argpartition(-pieces, count - 1, axis=-1)[:, :count]
        values = np.take_along_axis(logits, best, -1)
        order = np.lexsort((best, -values), axis=-1)  # equal ones by id, whatever order the partition gave
        best, values = np.take_along_axis(best, order, -1), np.take_along_axis(values, order, -1)
        top = logits.max(-1, keepdims=True, initial=-np.inf)
        scores = np.exp(values - top) / np.exp(logits - top).sum(-1, keepdims=True)
        rows, ordinals = np.nonzero(masked)[0], (masked.cumsum(1) - 1)[masked]
        shape = (len(masked), int(masked.sum(1).max()), count)
        result = {"ids": np.full(shape, -1), "scores": np.zeros(shape)}
        result["ids"][rows, ordinals], result["scores"][rows, ordinals] = best, scores
        return result

    def combine(self, features: Features, outputs: Outputs) -> Guesses:
        """The guesses for each mask, in the order of the text."""
        guesses: dict[int, tuple[int, list[tuple[int, float]]]] = {}
        for window, output in zip(features.windows, outputs, strict=True):
            masks = [i for i, token in enumerate(window.ids) if token == self.mask_id]
            for i, ids, scores in zip(masks, output["ids"].tolist(), output["scores"].tolist(), strict=False):
                mask, margin = (window.words or [])[i], min(i, len(window.ids) - 1 - i)
                if mask not in guesses or margin > guesses[mask][0]:
                    guesses[mask] = margin, list(zip(ids, scores, strict=True))
        return [guesses[mask][1] for mask in sorted(guesses)]

    def decode(self, record: Record, prediction: Guesses) -> dict[str, Any]:
        """masks: the likeliest tokens of each, with scores; filled: the text with the likeliest token in each mask."""
        count = self.options.top_k or SHOWN
        masks = [[{"token": self._token(i), "score": round(score, DIGITS)} for i, score in guesses[:count]]
                 for guesses in prediction]  # fmt: skip
        filled, *rest = self._text(record).split(self.mask)
        best = self._of_all([guesses[0][0] for guesses in prediction], len(rest), None)
        for token, part in zip(best, rest, strict=True):
            filled = (filled + self.mask if token is None else self._followed(filled, token)) + part
        return {"masks": masks, "filled": filled}

    def _of_all(self, values: Sequence[Any], count: int, lacking: Any) -> list[Any]:
        """Values of the masks that were read, in the order of all `count` of a text; `lacking` for those cut off."""
        cut = [lacking] * (count - len(values))
        return [*cut, *values] if self.tokenizer.keeps_end else [*values, *cut]

    def _followed(self, text: str, token: int) -> str:
        """A text with one more token, which continues its last word or begins a new one, as the tokenizer decodes it.

        WordPiece's `##ing` continues. Where a piece includes the space before it, one without a space continues, if the
        mask token takes in the space before it, as RoBERTa's does.
        """
        backend = self.tokenizer.backend
        word = backend.decode([token], skip_special_tokens=False)
        if prefix := getattr(backend.model, "continuing_subword_prefix", None):
            return text.rstrip() + word.removeprefix(prefix) if word.startswith(prefix) else text + word
        if word.startswith(" ") or str(backend.id_to_token(token)).startswith("▁"):
            return text + ("" if text[-1:].isspace() or not text else " ") + word.removeprefix(" ")
        added = backend.get_added_tokens_decoder().get(self.mask_id)
        return (text.rstrip() if added is not None and added.lstrip else text) + word

    def _token(self, token: Any) -> str:
        return self.tokenizer.backend.decode([token], skip_special_tokens=False).strip()

    def label_fields(self, record: Record) -> dict[str, Any]:
        """The label and the text, whose masks are counted."""
        return {self.options.text_field: self._text(record)} | super().label_fields(record)

    def label(self, record: Record) -> list[int]:
        """The token id at each mask, from a text or a list of texts. Raises RecordError for a text that is no token."""
        encode = partial(self.tokenizer.backend.encode, add_special_tokens=False)
        text, targets = self._text(record), []
        parts, masked = text.split(self.mask), encode(text).ids
        masks = [i for i, token in enumerate(masked) if token == self.mask_id]
        answers = self.one_each(record, lookup(record.fields, self.options.label_field, "--label-field"))
        for number, answer in enumerate(answers):
            if not isinstance(answer, str):
                raise RecordError(f"the answer {answer!r} is not text.")
            # The answer's token in its context: some tokenizers take the space before a word into the token, so the
            # word alone would be another token. If the answer also changes the tokens beside it, as the ending of a
            # word does, the token of the answer alone is taken.
            filled = encode(self.mask.join(parts[: number + 1]) + answer + self.mask.join(parts[number + 1 :])).ids
            i = masks[number]
            if [*filled[:i], self.mask_id, *filled[i + 1 :]] == masked:
                targets.append(filled[i])
                continue
            ids = encode(answer).ids
            piece = ids[0] if len(ids) == 1 else self.tokenizer.backend.token_to_id(answer)  # such as ##ing
            if piece is None:
                raise RecordError(f"the answer '{answer}' is {len(ids)} tokens, not one.")
            targets.append(piece)
        return targets

    def one_each(self, record: Record, value: Any) -> list[Any]:
        """A field's value, or a table cell's, for each mask of the text. Raises RecordError if their numbers differ."""
        value = from_cell(value)
        answers = value if isinstance(value, list) else [value]
        if len(answers) != (masks := self.read(record).count(self.mask)):
            raise RecordError(f"{len(answers)} answers for {masks} masks.")
        return answers

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """How often the right token is first, in the first 5 and 10; the mean of 1 / its rank. None without masks."""
        ranks = list(chain.from_iterable(self.columns(gold, predictions)["ranks"]))
        return {name: sum(map(gain, ranks)) / len(ranks) if ranks else None for name, gain in GAINS.items()}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The gold and the first token of each mask. The score is that of the surest wrong token, else the least."""
        examples = []
        for record, answers, guesses in zip(records, gold, predictions, strict=True):
            whole = self._of_all(guesses, len(answers), [(None, 0.0)])
            first = [(guess[0][0] == answer, guess[0][1]) for answer, guess in zip(answers, whole, strict=True)]
            wrong = [score for is_right, score in first if not is_right]
            sure = max(wrong) if wrong else min((score for _, score in first), default=0.0)
            named, predicted = list(map(self._token, answers)), [self._token(guess[0][0]) for guess in guesses]
            text = self._text(record)
            examples.append(Example(record, text, named, predicted, not wrong, round(sure, DIGITS), sure))
        return examples

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The rank of the right token at each mask, None if it is not among the guesses."""
        ranks = []
        for answers, guesses in zip(gold, predictions, strict=True):
            ranked = [[token for token, _ in guess] for guess in guesses]
            ranked = self._of_all(ranked, len(answers), [])  # a mask that was cut off has no guess, and is missed
            pairs = zip(answers, ranked, strict=True)
            ranks.append([tokens.index(answer) + 1 if answer in tokens else None for answer, tokens in pairs])
        return {"ranks": ranks}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """Means over all masks, from the sums of each text."""
        from bertcli.metrics import bootstrap

        ranks = columns["ranks"]
        gains = {name: [sum(map(gain, masks)) for masks in ranks] for name, gain in GAINS.items()}
        return bootstrap.weighted_means(gains, np.array([len(masks) for masks in ranks], np.float64))

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The first guess at each mask."""
        from bertcli.metrics.calibration import Scored

        pairs = [(guess[0][1], guess[0][0] == answer) for one, guesses in zip(gold, predictions, strict=True)
                 for answer, guess in zip(one, guesses, strict=False)]  # fmt: skip
        if not pairs:
            return None
        scores, right = zip(*pairs, strict=True)
        return Scored("masks", np.array(scores), np.array(right), len(pairs))


class ExternalTask(BaseExternalTask, Task):
    """A prediction is the guesses for each mask, as texts in lower case in place of token ids.

    `evaluate` looks at ten guesses; `predict --top-k 10` lists as many.
    """

    names = ("masks",)

    def label(self, record: Record) -> list[Any]:
        """The text of the answer at each mask. Raises RecordError."""
        return list(map(_text, self.one_each(record, lookup(record.fields, self.options.label_field, "--label-field"))))

    def external_prediction(self, record: Record, result: Record) -> list[Any]:
        """The guesses, from `masks` as `predict` writes it, or from one text for each mask. Raises RecordError."""
        masks = self.one_each(record, self.value(self.options, result))
        listed = [mask if isinstance(mask, list) and mask else [mask] for mask in masks]
        return [[(_text(guess), 0.0) for guess in mask] for mask in listed]

    def _token(self, token: Any) -> str:
        return str(token)


def _text(answer: Any) -> str:
    value = answer.get("token") if isinstance(answer, Mapping) else answer
    if not isinstance(value, str):
        raise RecordError(f"the answer {excerpt(repr(value), 60)} is not text.")
    return value.strip().lower()
