"""bertcli: BERT-family encoders as a Unix tool."""

import os

__version__ = "0.1.0"

# From 1.29 on, ONNX Runtime tells Microsoft of each process and model, from a database in ~/.cache, unless this is set
# before it is imported (microsoft/onnxruntime pull request 27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
