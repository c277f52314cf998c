"""The way from a trained network to a bundle: scores, thresholds and files."""
