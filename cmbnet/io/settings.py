"""Settings from YAML into a pydantic model. The error for an unknown key names the nearest key."""

from __future__ import annotations

import difflib
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from cmbnet.errors import UsageError

Model = TypeVar("Model", bound=pydantic.BaseModel)


class FrozenModel(pydantic.BaseModel):
    """A frozen model that refuses unknown keys. Its JSON Schema describes each field."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def read_settings(path: str | os.PathLike[str], model: type[Model], *, what: str) -> Model:
    """Read a file of settings.

    The file holds one mapping in YAML. `what` is a noun for messages, such as ``"recipe"``.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown key or a bad value.
    """
    source = Path(path)
    try:
        values = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"a YAML {what} is required, got {source}: {error}") from error
    return check_settings(values, model, what=what, source=str(source))


def check_settings(values: Any, model: type[Model], *, what: str, source: str) -> Model:
    """Check settings that are already read; see `read_settings`.

    `source` is the name of the file, for messages.

    Raises:
        UsageError: If they do not fit. One line has all faults.
    """
    if not isinstance(values, dict):
        raise UsageError(
            f"a {what} is a mapping of settings, got {type(values).__name__}: {source}"
        )
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        faults = "; ".join(_explain(fault, model) for fault in error.errors())
        raise UsageError(f"{source}: {faults}") from None


def _explain(fault: Any, model: type[pydantic.BaseModel]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_nearest(fault['loc'], model)}"
    if fault["type"] == "missing":
        return f"{place} is required"
    got = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"{place}: {fault['msg']}{got}"


def _nearest(location: tuple[int | str, ...], model: type[pydantic.BaseModel]) -> str:
    """The known key of the same section that looks most like the unknown one."""
    section: type[pydantic.BaseModel] | None = model
    for part in location[:-1]:
        if isinstance(part, str) and section is not None:
            section = _model_in(section.model_fields[part].annotation)
    if section is None:
        return ""
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1, cutoff=0.0)
    return f" (nearest: {near[0]!r})" if near else ""


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model that an annotation is, or that it is a list, tuple or option of."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, tuple, types.UnionType, typing.Union):
        found = (_model_in(argument) for argument in typing.get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
