"""The Python face of cmbnet: `load` a model, `Model.predict` a scan, look at the `Found`."""

from cmbnet.api.found import Found, LesionTable
from cmbnet.api.model import Model, load
from cmbnet.predict import Request

__all__ = ["Found", "LesionTable", "Model", "Request", "load"]
