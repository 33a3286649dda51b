"""Records in, results out, in any format, in constant memory. Knows no task and no model.

Reading: readers.py opens each input as a Source (streams.py: bytes, decompressed, as lines of text), and the module of
its format (input_formats/) makes records of it (records.py). Writing: a Writer (writers.py) gives each result to a
formatter (output_formats/) and the bytes to a sink (sinks.py), and notes in a journal (journal.py) from where another
run can go on. formats.py finds formats by name, paths.py the files that names stand for. arrow.py makes values of the
rows of tables, columns.py the schema of one that is written. recognition.py tells labelling tools by their records, and
what their formats share is in labelled.py and json_items.py. documents.py reads raw text for pre-training; terminal.py
makes text fit to be shown.
"""
