"""One file per format that can be written; its name is the format's name."""
