"""The HTML page of --report: one file that holds everything, from an evaluation, a training log, or both."""
