"""ONNX files of a checkpoint, fp32 and int8, and an int8 file back as a torch model."""
