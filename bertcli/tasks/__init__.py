"""What bertcli can learn and answer: a folder for each task, which owns all of it, and what all tasks share."""

DEFAULT = "text-classification"  # where neither user nor data nor model says which
# Its embedded model is an encoder that no task has changed: the base to learn from where none is named.
ENCODER = "feature-extraction"
