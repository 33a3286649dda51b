"""One file per format that can be read; its name is the format's name."""
