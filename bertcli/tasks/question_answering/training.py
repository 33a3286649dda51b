"""How answers are learnt (a BaseTraining): the first and the last token of one, in each window of its context.

Devlin et al. 2018 (arXiv 1810.04805), section 4.2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Indices
from bertcli.tasks.base import IGNORED
from bertcli.tasks.examples import Examples
from bertcli.tasks.question_answering.spans import NO_ANSWER
from bertcli.tasks.training import BaseTraining, Labelled, Outputs, Targets

NOWHERE = -1e4  # a logit that no softmax sees, and that bf16 holds


class Training(BaseTraining):
    """Two classes for each window: the positions where the answer starts and ends."""

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(W, 2); (0, 0), the place of CLS, where the answer is not in the window; IGNORED where nobody knows."""
        assert examples.spans is not None  # the task encodes contexts
        targets = np.zeros((len(examples.owner), 2), np.int64)
        for window, owner in enumerate(examples.owner.tolist()):
            answer = gold[owner].target
            if answer is None:
                targets[window] = IGNORED
            elif answer != NO_ANSWER:
                targets[window] = _tokens_of(examples.spans[examples.tokens_of(window)], *answer)
        return torch.from_numpy(targets)

    def batch_targets(self, labelled: Labelled, units: Indices) -> Targets:
        """(B, 2)."""
        return labelled.targets[torch.from_numpy(units)]

    def terms(self, targets: Targets) -> int:
        """The starts and ends that are known."""
        return int((targets != IGNORED).sum())

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The cross-entropy over the positions of a window, for start and end; no answer is in the padding."""
        logits = torch.stack((outputs["start_logits"], outputs["end_logits"]), -1).float()  # (B, T, 2)
        if mask is not None:
            logits = logits.masked_fill(mask[..., None] == 0, NOWHERE)
        smoothing = self.settings.label_smoothing
        return functional.cross_entropy(
            logits, targets, reduction="sum", ignore_index=IGNORED, label_smoothing=smoothing
        )


def _tokens_of(spans: "np.ndarray[Any, Any]", start: int, end: int) -> tuple[int, int]:
    """The first and the last token that share a character with the answer, if the window has all of it."""
    shared = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start) & (spans[:, 0] >= 0))
    is_whole = len(shared) and spans[shared[0], 0] <= start and spans[shared[-1], 1] >= end
    return (int(shared[0]), int(shared[-1])) if is_whole else (0, 0)
