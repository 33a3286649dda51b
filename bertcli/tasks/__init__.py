"""What bertcli can learn and answer: a folder for each task, which owns all of it, and what all tasks share."""

DEFAULT = "text-classification"  # where neither user nor data nor model says which
