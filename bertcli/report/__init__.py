"""HTML pages, each one file that holds everything: of an evaluation or a training run, and of explanations."""
