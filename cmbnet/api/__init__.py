"""The Python face of cmbnet: `load` a model, `Model.predict` a scan, look at the `Found`."""

from cmbnet.api.found import Found, LesionTable
from cmbnet.api.model import Model, load

__all__ = ["Found", "LesionTable", "Model", "load"]
