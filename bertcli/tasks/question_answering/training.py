"""How answers are learnt (a BaseTraining): the first and the last token of one, in each window of its context.

Devlin et al. 2018 (arXiv 1810.04805), section 4.2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Array
from bertcli.tasks.base import IGNORED
from bertcli.tasks.question_answering import NO_ANSWER, Gold, Span
from bertcli.tasks.training import SURE_LOGIT, BaseDistillation, BaseTraining, Examples, Outputs, Targets

NOWHERE = -1e4  # a logit whose softmax is 0, and which bf16 holds


class Training(BaseTraining):
    """Two classes for each window: the positions where the answer starts and ends."""

    targets_of = "units"

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(W, 2): start and end token; (0, 0), the CLS, if the window lacks the answer; IGNORED without a target."""
        assert examples.spans is not None  # the task encodes contexts
        targets = np.full((len(examples.owner), 2), IGNORED, np.int64)
        for window, owner in enumerate(examples.owner[examples.owner < len(gold)].tolist()):
            answer = gold[owner].target
            if answer is not None:
                spans = examples.spans[examples.tokens_of(window)]
                targets[window] = (0, 0) if answer == NO_ANSWER else _tokens_of(spans, *answer)
        return torch.from_numpy(targets)

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The cross-entropy over the tokens of a window, without padding, for start and end."""
        logs = _logits(outputs, mask).log_softmax(1)
        loss = functional.nll_loss(logs, targets, reduction="sum", ignore_index=IGNORED)
        if not (smoothing := self.settings.label_smoothing):
            return loss
        # torch's own smoothing would give the padding its share too, where the logarithm is -1e4.
        tokens = torch.ones_like(logs[..., 0]) if mask is None else mask
        evenly = -(logs * (tokens / tokens.sum(1, keepdim=True))[..., None]).sum(1)  # (B, 2)
        return (1 - smoothing) * loss + smoothing * evenly[targets != IGNORED].sum()


class Distillation(BaseDistillation):
    """The teacher's best spans with their probabilities; they are in characters, whatever the student's tokens are."""

    targets_of = "tokens"
    padding = 0.0

    def answer(self, prediction: Sequence[Span]) -> Array:
        """(K, 3): score, start and end of each span."""
        return np.array([(span.score, span.start, span.end) for span in prediction], np.float64).reshape(-1, 3)

    def certain(self, gold: Gold) -> Array | None:
        """(1, 3), (0, 3) for no answer; None where the answer is not in the context."""
        if gold.target is None:
            return None
        return np.array([(SURE_LOGIT, *gold.target)] if gold.target != NO_ANSWER else [], np.float64).reshape(-1, 3)

    def targets(self, examples: Examples, gold: Sequence[Array]) -> Targets:
        """(tokens, 2): the probability that the answer starts and ends at each token.

        CLS has that of no answer, and of the spans that the window lacks.
        """
        assert examples.spans is not None  # the task encodes contexts
        targets = np.zeros((len(examples.ids), 2), np.float32)
        for window, owner in enumerate(examples.owner.tolist()):
            tokens = examples.tokens_of(window)
            spans, rows = examples.spans[tokens], targets[tokens]
            scores = np.append(gold[owner][:, 0], 0.0) / self.temperature  # The last is that of no answer.
            weights = np.exp(scores - scores.max())
            for weight, answer in zip(weights / weights.sum(), [*gold[owner][:, 1:], NO_ANSWER], strict=True):
                first, last = _tokens_of(spans, *answer)
                rows[first, 0] += weight
                rows[last, 1] += weight
        return torch.from_numpy(targets)

    def terms(self, targets: Targets) -> int:
        """A start and an end for each window."""
        return 2 * len(targets)

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The divergence over the tokens of a window, for start and end."""
        return self.divergence(_logits(outputs, mask), targets)


def _logits(outputs: Outputs, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, T, 2): start and end logits, NOWHERE on padding."""
    logits = torch.stack((outputs["start_logits"], outputs["end_logits"]), -1).float()
    return logits if mask is None else logits.masked_fill(mask[..., None] == 0, NOWHERE)


def _tokens_of(spans: "np.ndarray[Any, Any]", start: int, end: int) -> tuple[int, int]:
    """The first and last token that share a character with the answer; (0, 0) if the window lacks a part of it."""
    shared = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start) & (spans[:, 0] >= 0))
    is_whole = len(shared) and spans[shared[0], 0] <= start and spans[shared[-1], 1] >= end
    return (int(shared[0]), int(shared[-1])) if is_whole else (0, 0)
