"""No module of the package or of the benchmarks imports itself by way of others."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules(root: Path) -> dict[str, Path]:
    """The modules of package and benchmarks by name."""
    files = [file for top in ("cmbnet", "benchmarks") for file in (root / top).rglob("*.py")]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: no functions, nothing for the type checker alone."""
    for node in body:
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            continue
        yield node
        yield from statements(
            [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]
        )


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in statements(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` takes the module, `from module import name` its name.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else str(node.module) for name in inner}
    return found & set(known)


def order(root: Path) -> graphlib.TopologicalSorter[str]:
    known = modules(root)
    return graphlib.TopologicalSorter({name: imports(file, known) for name, file in known.items()})


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert {"cmbnet.io.nifti", "benchmarks.semi_real"} <= set(modules(ROOT))
    order(ROOT).prepare()


def test_a_cycle_through_the_benchmarks_is_found(tmp_path: Path) -> None:
    (tmp_path / "cmbnet").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "cmbnet" / "one.py").write_text("if 1:\n    from benchmarks import two\n")
    (tmp_path / "benchmarks" / "two.py").write_text("from cmbnet.one import name\n")
    with pytest.raises(graphlib.CycleError, match="cycle"):
        order(tmp_path).prepare()
