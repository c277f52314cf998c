"""Labelled scans: data specs, cohorts, the training cache."""
