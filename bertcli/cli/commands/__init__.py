"""One file per command; a new file is a new command. Each imports click and options only, the engine when it runs."""
