"""Break `cmbnet.evaluation` in many small ways, one at a time, and count what the tests notice.

    python benchmarks/mutation.py [--mutants 110] [--seed 0] [--log FILE]

First the faults that must never pass: the 40 % comparison, the connectivity, pooled against mean.
Then a sample of operator faults: a comparison, an arithmetic operator, a number, `not`,
`and`/`or`. Everything but the drawings is broken. The working tree is copied, so nothing in it
changes. A fault is killed when a test fails or runs into the limit of processor time.

What makes it affordable: the libraries are imported once, each fault is tried in a fork of that
process, and the tests that import the broken module run first. With `--log` every verdict is
written as it comes; what the log says was killed is not tried again, so a run can be cut short,
and new tests meet only the survivors.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("cmbnet/evaluation")
SPARED = (
    "__init__",
    "figures",
    "gallery",
    "page",
    "readers/__init__",
    "readers/report",
    "simulate",
)
"""Not broken: what is drawn is looked at, in a browser; what simulates scores nothing."""
TESTS = (
    "tests/truth/test_lesion_matching.py", "tests/truth/test_evaluation_counts.py",
    "tests/truth/test_empty_cases.py", "tests/truth/test_evaluation_agreement.py",
    "tests/truth/test_evaluation_tables.py", "tests/unit/evaluation", "tests/conformance",
    "tests/property/test_evaluation.py",
)  # fmt: skip
"""In the order in which they run."""
WARM = (
    "numpy", "scipy.ndimage", "scipy.optimize", "scipy.sparse.csgraph", "scipy.stats",
    "sklearn.metrics", "statsmodels.stats.inter_rater",
    "statsmodels.stats.contingency_tables", "matplotlib.figure", "matplotlib.backends.backend_svg",
    "jsonschema", "rich.progress", "click.testing", "pytest",
)  # fmt: skip
OUTPUT = "output.txt"
CPU_LIMIT_S, WALL_LIMIT_S = 240, 3600
NAMED = {
    "40 % or more instead of more than 40 %": (
        "cmbnet/evaluation/match/matching.py", "/ whole > threshold", "/ whole >= threshold"),
    "6-connectivity": (
        "cmbnet/lesions/components.py", "np.ones((3, 3, 3), dtype=bool)",
        "ndimage.generate_binary_structure(3, 1)"),
    "pooled Dice for the mean over patients": (
        "cmbnet/evaluation/stats/metrics.py", '_mean("dice")', "_dice"),
    "mean precision for the pooled one": (
        "cmbnet/evaluation/stats/metrics.py", '_share("tp", "tp", "fp")', '_mean("precision")'),
}  # fmt: skip
"""Fault -> file, text, replacement."""
EQUIVALENT = {
    "labels _not_zero: data.reshape(len(data), -1) -> data.reshape(len(data), -2)":
        "numpy takes every negative length for what is left over",
    "labels _not_zero: data.reshape(-1, data.shape[-1]) -> data.reshape(-2, data.shape[-1])":
        "the same",
    "overlap find_overlap: max(predicted.count, 1) -> max(predicted.count, 2)":
        "the code of a pair may use any base that is large enough",
}  # fmt: skip
"""Faults that change nothing anyone could see, by name, and why; they are not counted."""

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a module.

    Args:
        module: File below `PACKAGE`, without ending.
        number: Place of the broken node in `ast.walk`.
        name: Module, function and the expression before and after; the same after other edits.
    """

    module: str
    number: int
    name: str


def faults(module: str, source: str) -> Iterator[Fault]:
    """Every fault that can be made in a module."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    seen: Counter[str] = Counter()
    for number, node in enumerate(ast.walk(tree)):
        if _can_break(node):
            whole = node
            while isinstance(parents[whole], ast.expr | ast.keyword) and len(_text(whole)) < 8:
                whole = parents[whole]
            before = _text(whole)
            undo = _break(node)
            name = f"{module} {_function(node, parents)}: {before} -> {_text(whole)}"
            undo()
            seen[name] += 1
            yield Fault(module, number, name if seen[name] == 1 else f"{name} ({seen[name]})")


def _text(node: ast.AST) -> str:
    return ast.unparse(node)


def _function(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    while not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
        node = parents[node]
    return "(module)" if isinstance(node, ast.Module) else node.name


def _can_break(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in COMPARE
    if isinstance(node, ast.BinOp):
        return type(node.op) in ARITHMETIC and not _annotation(node)
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.Invert)
    return isinstance(node, ast.BoolOp)


def _annotation(node: ast.BinOp) -> bool:
    """A union of types such as ``X | None`` is no arithmetic."""
    text = ast.unparse(node)
    return "None" in text or "NDArray" in text


def _break(node: ast.AST) -> Callable[[], None]:
    """Break a node in place; what is returned mends it."""
    if isinstance(node, ast.Compare):
        old, node.ops[0] = node.ops[0], COMPARE[type(node.ops[0])]()
        return lambda: node.ops.__setitem__(0, old)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _set(node, "value", node.value + 1)
    if isinstance(node, ast.BinOp):
        return _set(node, "op", ARITHMETIC[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        return _set(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, ast.UnaryOp):  # twice is not at all
        return _set(node, "operand", ast.UnaryOp(node.op, node.operand))
    raise TypeError(f"{type(node).__name__} cannot be broken")


def _set(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    old = getattr(node, field)
    setattr(node, field, value)
    return lambda: setattr(node, field, old)


def broken(source: str, fault: Fault) -> str:
    """The module with one fault."""
    tree = ast.parse(source)
    _break(list(ast.walk(tree))[fault.number])
    return ast.unparse(tree)


def sample(count: int, seed: int) -> list[Fault]:
    """Faults in an order that depends on their names only: an edit elsewhere changes little."""
    folder = ROOT / PACKAGE
    every = [
        fault
        for path in sorted(folder.rglob("*.py"))
        if (module := path.relative_to(folder).with_suffix("").as_posix()) not in SPARED
        for fault in faults(module, path.read_text(encoding="utf-8"))
    ]
    every.sort(key=lambda fault: hashlib.sha256(f"{seed} {fault.name}".encode()).digest())
    known = [fault for fault in every if fault.name not in EQUIVALENT]
    print(f"{len(every)} faults can be made; {min(count, len(known))} are tried.\n", flush=True)
    return known[:count]


def copy_tree(target: Path) -> Path:
    """What the tests need, and the shared data beside it."""
    copy = target / "main"
    for name in ("cmbnet", "tests", "data_specs", "docs"):
        ignore = shutil.ignore_patterns("__pycache__", "*.tflite")
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (target / "shared").symlink_to(shared)
    return copy


def killed(copy: Path, path: Path, source: str, *, near: bool = False) -> bool:
    """Whether the tests (or only the near ones) notice that a file of the copy has a fault."""
    original = (copy / path).read_text(encoding="utf-8")
    (copy / path).write_text(source, encoding="utf-8")
    child = os.fork()
    if child == 0:
        try:
            os._exit(_run_tests(copy, path, near))
        finally:  # whatever happens, the fork never returns into this loop
            os._exit(2)
    _, status = os.waitpid(child, 0)
    (copy / path).write_text(original, encoding="utf-8")
    return status != 0


def _run_tests(copy: Path, path: Path, near_only: bool) -> int:
    """In the fork: 0 if every test passes."""
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    signal.alarm(WALL_LIMIT_S)
    os.chdir(copy)
    # Processes that a test spawns would run this script again, from a folder where it is not.
    sys.modules["__main__"] = ModuleType("__main__")
    files = [f for t in TESTS for f in (sorted(Path(t).glob("test_*.py")) or [Path(t)])]
    module = ".".join(path.with_suffix("").parts)
    near = [file for file in files if f"{module} " in file.read_text(encoding="utf-8")]
    far = [file for file in files if file not in near]
    with (copy / OUTPUT).open("w") as said, redirect_stdout(said), redirect_stderr(said):
        for tests in ([path], near, [] if near_only else far):  # the module: its examples
            # pytest loads what it looks for examples in anew: no class may be there twice.
            for name in [n for n in sys.modules if n.partition(".")[0] in ("cmbnet", "tests")]:
                del sys.modules[name]
            code = tests and pytest.main(["-xq", "-p", "no:cacheprovider", *map(str, tests)])
            if code not in ([], 0, pytest.ExitCode.NO_TESTS_COLLECTED):
                return 1
    return 0


def try_named(copy: Path) -> int:
    """Number of the named faults that survive."""
    survivors = 0
    for name, (file, old, new) in NAMED.items():
        source = (copy / file).read_text(encoding="utf-8")
        seen = old in source and killed(copy, Path(file), source.replace(old, new))
        survivors += not seen
        print(f"{'killed  ' if seen else 'SURVIVED'} {name}", flush=True)
    return survivors


def try_sample(copy: Path, chosen: list[Fault], log: Path | None, *, near: bool) -> None:
    """Try every fault of a sample and print the score, whole and by module."""
    lines = log.read_text(encoding="utf-8").splitlines() if log and log.is_file() else []
    dead = {row["name"] for row in map(json.loads, lines) if row["killed"]}
    total, hits = Counter[str](), Counter[str]()
    for fault in chosen:
        path = PACKAGE / f"{fault.module}.py"
        source = (copy / path).read_text(encoding="utf-8")
        seen = fault.name in dead or killed(copy, path, broken(source, fault), near=near)
        total[fault.module] += 1
        hits[fault.module] += seen
        if not seen:
            print(f"survived {fault.name}", flush=True)
        if log and fault.name not in dead:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"name": fault.name, "killed": seen}) + "\n")
    print("\n| module | killed | tried |\n|---|--:|--:|")
    for module in sorted(total):
        print(f"| {module} | {hits[module]} | {total[module]} |")
    share = hits.total() / max(total.total(), 1)
    print(f"\nkilled {hits.total()} of {total.total()}: {share:.1%}")


def main() -> int:
    """Print every fault that survives, and the score; 1 if a named fault survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=110)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="JSON lines; what it calls killed is skipped")
    parser.add_argument(
        "--near",
        action="store_true",
        help="a quick look: only the tests that import the broken module",
    )
    parser.add_argument("--start", type=int, default=0, help="pass over so many of the sample")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True  # a file may be broken twice within its time stamp
    for name in WARM:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_tree(Path(folder))
        anything = PACKAGE / "matching.py"
        whole = (copy / anything).read_text(encoding="utf-8")
        if killed(copy, anything, whole, near=options.near):
            print((copy / OUTPUT).read_text(encoding="utf-8")[-3000:])
            print("The tests fail without any fault.")
            return 1
        survivors = 0 if options.start or options.near else try_named(copy)
        chosen = sample(options.mutants, options.seed)[options.start :]
        try_sample(copy, chosen, options.log, near=options.near)
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
