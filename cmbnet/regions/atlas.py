"""The template head that comes with the package (``head.npz``; ``training/head_template.py``)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.regions.places import LabelMap
from cmbnet.regions.register import Field


@dataclass(frozen=True, slots=True)
class HeadTemplate:
    """A head in MNI space.

    Args:
        tissues: Shares of brain, grey matter, white matter and fluid.
        labels: Its regions.
    """

    tissues: Field
    labels: LabelMap

    def tissue(self, point_mm: NDArray[np.floating]) -> float:
        """Return the share of grey and white matter at (superior, anterior, right) in mm."""
        _, grey, white, _ = self.tissues.at(point_mm[None])[0][0].tolist()
        return round(float(min(grey + white, 1.0)), 3)


@functools.cache
def head_template() -> HeadTemplate:
    """Read the template; it stays in memory after the first call."""
    with np.load(Path(__file__).with_name("head.npz")) as file:
        shares = file["tissues"].astype(np.float32) / 255
        fluid = np.clip(shares[..., :1] - shares[..., 1:2] - shares[..., 2:], 0, None)
        return HeadTemplate(
            Field(np.concatenate([shares, fluid], axis=-1), file["tissues_origin_mm"], 4.0),
            LabelMap(file["labels"], file["labels_origin_mm"], 2.0),
        )
