"""Compare scans of one patient over time: which microbleeds are new."""

from __future__ import annotations

from cmbnet.followup.comparison import Compared, Comparison, compare_scans
from cmbnet.followup.write import write_comparison

__all__ = ["Compared", "Comparison", "compare_scans", "write_comparison"]
