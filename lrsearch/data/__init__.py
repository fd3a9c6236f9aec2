"""Data sources, splits and preprocessing: NumPy and scikit-learn, no torch."""
