"""One file per task: how its records become token ids, and the model's outputs a result. Never torch, never a backend."""
