"""Labelled records and a base model in, a fine-tuned model directory out; the one training loop."""
