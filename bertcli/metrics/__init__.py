"""One file per family of metrics, on scikit-learn and SciPy."""
