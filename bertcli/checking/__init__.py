"""Linting of labelled data before it is trained on: what fine-tuning would refuse, and what would spoil its result."""
