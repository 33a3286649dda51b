"""What runs a model: a file for each inference engine."""
