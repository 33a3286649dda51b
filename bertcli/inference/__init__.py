"""A model on a stream of records: choose what runs it, batch, answer in order; measure and inspect it."""
