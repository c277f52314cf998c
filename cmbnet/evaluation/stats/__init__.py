"""Counts, metrics, curves, agreement and intervals."""
