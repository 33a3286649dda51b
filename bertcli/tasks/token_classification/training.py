"""How tags are learnt (a BaseTraining): each word's at its first piece, from labels or from a teacher's logits."""

from collections.abc import Sequence

import numpy as np
import torch

from bertcli.arrays import Array
from bertcli.tasks.base import IGNORED
from bertcli.tasks.token_classification.labels import Gold
from bertcli.tasks.training import SURE_LOGIT, BaseDistillation, Examples, Outputs, Targets, WordTraining


class Training(WordTraining):
    """A class for each word."""

    def targets(self, examples: Examples, gold: Sequence[Gold]) -> Targets:
        """(tokens,) tags; IGNORED too where none is right."""
        return super().targets(examples, [sentence.tags for sentence in gold])


class Distillation(BaseDistillation):
    """The teacher's logits of each word: words are those of the record, so the two may tokenise them differently."""

    targets_of = "tokens"
    padding = np.nan

    def certain(self, gold: Gold) -> Array:
        """(words, L) logits; NaN for a word whose tag nobody knows."""
        tags = np.array(gold.tags)
        logits = np.full((len(tags), len(self.columns)), np.nan, np.float32)
        known = np.flatnonzero(tags != IGNORED)
        logits[known] = -SURE_LOGIT
        logits[known, np.asarray(self.columns)[tags[known]]] = SURE_LOGIT
        return logits

    def targets(self, examples: Examples, gold: Sequence[Array]) -> Targets:
        """(tokens, L) logits where a word begins that the teacher has seen, NaN elsewhere."""
        assert examples.words is not None  # the task encodes words
        targets = np.full((len(examples.ids), len(self.columns)), np.nan, np.float32)
        for window, owner in enumerate(examples.owner.tolist()):
            tokens, logits = examples.tokens_of(window), gold[owner][:, self.columns]
            words = examples.words[tokens]
            seen = (words >= 0) & (words < len(logits))
            targets[tokens][seen] = logits[words[seen]]
        return torch.from_numpy(targets)

    def terms(self, targets: Targets) -> int:
        """The words that the teacher has seen."""
        return int((~targets[..., 0].isnan()).sum())

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The divergence over these words."""
        seen = ~targets[..., 0].isnan()
        return self.divergence(outputs["logits"].float()[seen], (targets[seen] / self.temperature).softmax(-1))
