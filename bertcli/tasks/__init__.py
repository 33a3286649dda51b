"""One file per task: how records become token ids and outputs become results. Never torch, never a backend."""
