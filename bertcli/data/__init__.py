"""Streams of records: readers yield them, writers print them. Knows no task and no model."""
