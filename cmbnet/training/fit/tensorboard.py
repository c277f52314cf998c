"""Write a run for TensorBoard: a scalar for each column of the log, and pictures of examples.

`tf.summary.write` needs no TensorBoard on the machine of the run. The metadata tells TensorBoard's
plug-ins which values are scalars and which are images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.training.data.cache_part import LESION
from cmbnet.training.fit.sampler import Sampler

FOLDER = "tensorboard"
SIDE_PX = 96
"""Side of an example in pixels."""

SCALAR, BLOBS = 1, 3
"""Values of ``DataClass`` in TensorFlow's ``summary.proto``."""

COLUMNS = 4
TRUTH_COLOUR, ANSWER_COLOUR = (0, 200, 0), (255, 40, 40)


def write_scalars(run: Path, row: dict[str, float]) -> None:
    """Write a row of the log. Its epoch is the step."""
    with _writer(run).as_default(step=int(row["epoch"])):
        for name, value in row.items():
            if name != "epoch":
                tf.summary.write(name, np.float32(value), metadata=_metadata("scalars", SCALAR))


def write_examples(run: Path, picture: NDArray[np.uint8], epoch: int) -> None:
    """Write the picture of `example_picture`."""
    height, width = picture.shape[:2]
    png = tf.io.encode_png(picture).numpy()
    with _writer(run).as_default(step=epoch):
        tf.summary.write(
            "truth green, answer red",
            tf.constant([str(width), str(height), png]),
            metadata=_metadata("images", BLOBS),
        )


def _metadata(plugin: str, data_class: int) -> Any:
    """Return metadata that name the plug-in of TensorBoard for a value."""
    return tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=plugin),
        data_class=data_class,
    )


def _writer(run: Path) -> Any:
    """Open a file for one epoch, so that a kill can tear no file of an earlier one."""
    return tf.summary.create_file_writer(str(run / FOLDER))


def example_picture(
    predict: Any, sampler: Sampler, slices: list[tuple[int, int]], threshold: float
) -> NDArray[np.uint8]:
    """Draw crops of slices around their first lesion, with outlines of truth and answer.

    `predict` maps (sampler, case, z) to a probability (y, x). There is at least one slice (case,
    z); one without a lesion is shown about its middle. Return uint8 (rows, columns, 3).
    """
    tiles = [_tile(predict, sampler, case, z, threshold) for case, z in slices]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[n : n + COLUMNS], 1) for n in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows, 0)


def _tile(predict: Any, sampler: Sampler, case: int, z: int, threshold: float) -> NDArray[np.uint8]:
    content = sampler.cache.cases[case]
    truth = (content.marks[z] & LESION) > 0
    answer = predict(sampler, case, z) > threshold
    picture = np.repeat(content.image[z][..., np.newaxis], 3, axis=-1)
    for mask, colour in ((truth, TRUTH_COLOUR), (answer, ANSWER_COLOUR)):
        picture[ndimage.binary_dilation(mask) & ~mask] = colour
    where = np.argwhere(truth)
    middle = where[0] if len(where) else np.array(truth.shape) // 2
    start = np.clip(middle - SIDE_PX // 2, 0, np.maximum(np.array(truth.shape) - SIDE_PX, 0))
    tile = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    part = picture[start[0] : start[0] + SIDE_PX, start[1] : start[1] + SIDE_PX]
    tile[: part.shape[0], : part.shape[1]] = part
    return tile
