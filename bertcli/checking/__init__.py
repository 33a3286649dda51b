"""Faults of labelled data, found before it is trained on."""
