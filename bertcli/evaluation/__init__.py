"""How good predictions are: scores with intervals, what differs between two models, calibration."""
