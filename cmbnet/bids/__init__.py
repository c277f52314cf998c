"""BIDS data sets: find their scans, run them as a BIDS App, and look at the cohort."""
