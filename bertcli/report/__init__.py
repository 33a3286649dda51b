"""HTML pages, each one file that holds everything: of evaluations, trainings and explanations."""
