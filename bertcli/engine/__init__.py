"""The work itself, for every task and backend: streaming prediction, evaluation, training, export."""
