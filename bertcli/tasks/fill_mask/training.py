"""How masked words are learnt (a BaseTraining): the right token at each mask."""

from bertcli.tasks.training import WordTraining


class Training(WordTraining):
    """A class for each mask: a token of the vocabulary. Its gold is the list of these."""
