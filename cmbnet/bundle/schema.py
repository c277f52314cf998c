"""The JSON Schema of ``bundle.json``, generated from the models and kept in ``data_specs/``.

After a change of the models: ``python -c 'from cmbnet.bundle.schema import schema_text as t;
print(t(), end="")' > data_specs/bundle.schema.json``
"""

from __future__ import annotations

import json

from cmbnet.bundle.manifest import Manifest


def schema_text() -> str:
    """Return the schema as the text of its file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
