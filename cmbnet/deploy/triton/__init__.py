"""Triton: a model repository that answers whole scans, and the client that asks it.

``cmbnet_unet`` is the network alone. ``cmbnet`` takes a scan, prepares it, asks ``cmbnet_unet``
by BLS (business logic scripting: one model of a server calls another) and answers with lesions.
"""
