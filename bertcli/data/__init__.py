"""Records in, results out, in any format, in constant memory. Knows no task and no model.

Reading: readers.py finds the files that names stand for and opens each as a Source (streams.py: bytes, decompressed, as
lines of text; compression.py), of which its format (formats/) makes records (records.py). Writing: a Writer
(writers.py) gives each result to a formatter (formats/) and the bytes to a sink (sinks.py), and notes in a journal
(journal.py) from where another run can go on. terminal.py makes text fit to be shown.
"""
