"""Backends: one file per runtime, each imported only when it is opened."""

from cmbnet.backends.base import Backend, BackendInfo
from cmbnet.backends.registry import BackendStatus, available_backends, open_backend

__all__ = ["Backend", "BackendInfo", "BackendStatus", "available_backends", "open_backend"]
