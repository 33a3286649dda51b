"""How tags are learnt (a BaseTraining): each word's at its first piece."""

from collections.abc import Sequence

from bertcli.tasks.token_classification.labels import Gold
from bertcli.tasks.training import WordTraining


class Training(WordTraining):
    """A class for each word."""

    def word_targets(self, gold: Gold) -> Sequence[int]:
        """The tags; IGNORED where none is right."""
        return gold.tags
