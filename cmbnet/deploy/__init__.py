"""Deployment: from a trained network to the files that runtimes read, with proof of parity."""
