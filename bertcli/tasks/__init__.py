"""What bertcli can learn and answer: a folder for each task, and beside them what all tasks share. Never a backend."""

DEFAULT = "text-classification"  # where neither user nor data nor model says which
