"""The JSON Schemas in ``data_specs/`` that pydantic makes from the models.

After a change of a model: ``python -m tests.helpers.schemas``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pydantic

from cmbnet.bundle import Manifest
from cmbnet.followup import Comparison
from cmbnet.report import Result
from cmbnet.review import Review
from cmbnet.training.data.specs.model import DataSpec

FOLDER = Path(__file__).parents[2] / "data_specs"
SCHEMAS = {
    "bundle.schema.json": Manifest.model_json_schema(),
    "compare.schema.json": Comparison.model_json_schema(mode="serialization"),
    "data_spec.schema.json": {"title": "DataSpec"} | pydantic.TypeAdapter(DataSpec).json_schema(),
    "result.schema.json": Result.model_json_schema(mode="serialization"),
    "review.schema.json": Review.model_json_schema(mode="serialization"),
}


def schema_text(name: str) -> str:
    """The content that a file of `SCHEMAS` must have."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(draft | SCHEMAS[name], indent=2) + "\n"


if __name__ == "__main__":
    for each in SCHEMAS:
        (FOLDER / each).write_text(schema_text(each))
