from typing import Any

import pytest

from cmbnet.errors import UsageError
from cmbnet.preprocess import PreprocessRecipe


def test_default_is_the_physical_frame_of_384() -> None:
    recipe = PreprocessRecipe()
    assert (recipe.frame, recipe.size, recipe.pixel_mm) == ("physical", 384, 0.6)
    assert recipe.rare_bin_fraction == 1e-4


def test_to_dict_and_back() -> None:
    recipe = PreprocessRecipe(frame="paper", size=256, pixel_mm=0.5, window="histogram")
    assert PreprocessRecipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frame": "square"}, "frame must be one of physical, paper, got 'square'"),
        ({"window": "x"}, "window must be one of peak, histogram"),
        ({"size": 4}, r"size must be in 8\.\.4096, got 4"),
        ({"pixel_mm": -1.0}, "pixel_mm must be in"),
        ({"white_matter_level": float("nan")}, "white_matter_level must be in"),
        ({"frames": "paper"}, "unknown settings frames; known are antialias_from"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreprocessRecipe.from_dict(values)
