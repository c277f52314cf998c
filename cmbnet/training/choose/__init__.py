"""From a trained network to a bundle: scores, thresholds, files."""
