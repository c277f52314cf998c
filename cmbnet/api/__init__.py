"""The Python interface of cmbnet: `load`, `Model.predict` and `Found`."""

from cmbnet.api.found import Found, LesionTable
from cmbnet.api.model import Model, load
from cmbnet.predict import Request

__all__ = ["Found", "LesionTable", "Model", "Request", "load"]
