"""A bundle that learns from the reviewed scans of a site."""
