"""One file per inference engine; torch and onnxruntime are imported here (and in training) only."""
