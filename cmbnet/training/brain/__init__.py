"""Training of the brain mask on synthetic scans of every contrast."""
