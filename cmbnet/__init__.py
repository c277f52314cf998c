"""Detection and segmentation of cerebral microbleeds on susceptibility-weighted MRI.

`load` opens a model, `Model.predict` finds the microbleeds of a scan::

    import cmbnet

    with cmbnet.load("default") as model:
        found = model.predict("scan.nii.gz")
    print(found.lesions)
    found.save("results/scan")

Research use only. Not a medical device. Not for diagnosis.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmbnet.api import Found, Model, Request, load
    from cmbnet.volume import Volume

try:
    __version__ = version("cmbnet")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+unknown"

RESEARCH_USE_ONLY = "Research use only. Not a medical device. Not for diagnosis."
"""The sentence that every report, object and page of cmbnet carries."""

__all__ = ["RESEARCH_USE_ONLY", "Found", "Model", "Request", "Volume", "__version__", "load"]


_PUBLIC = {
    "Found": "cmbnet.api",
    "Model": "cmbnet.api",
    "Request": "cmbnet.api",
    "load": "cmbnet.api",
    "Volume": "cmbnet.volume",
}


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used, so that `import cmbnet` stays fast."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'cmbnet' has no attribute {name!r}")
