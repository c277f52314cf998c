"""Detection and segmentation of cerebral microbleeds on susceptibility-weighted MRI.

Research use only. Not a medical device. Not for diagnosis.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cmbnet")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+unknown"

RESEARCH_USE_ONLY = "Research use only. Not a medical device. Not for diagnosis."
"""The sentence that every report, object and page of cmbnet carries."""

__all__ = ["RESEARCH_USE_ONLY", "__version__"]
