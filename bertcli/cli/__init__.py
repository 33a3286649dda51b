"""The command line: a file for each command, with its options and its story, and what several share."""
