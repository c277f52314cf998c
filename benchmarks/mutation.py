"""Break `cmbnet.evaluation` in many small ways, one at a time, and count what the tests notice.

    python benchmarks/mutation.py [--mutants 100] [--seed 0]

First the faults that must never pass: the 40 % comparison, the connectivity, pooled against mean.
Then a random sample of operator faults: a comparison, an arithmetic operator, a number, `not`,
`and`/`or`. The working tree is copied, so nothing in it changes. A fault is killed when the tests
fail or run into the time limit.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("cmbnet/evaluation")
MODULES = (
    "bootstrap", "case", "cohort", "columns", "compare", "counts", "curves", "detection",
    "empty_cases", "froc", "intervals", "kappa", "labels", "matching", "metrics", "overlap",
    "pixels", "roc", "score", "strata", "readers/sites", "readers/study", "readers/times",
)  # fmt: skip
TESTS = ("tests/truth/test_lesion_matching.py", "tests/truth/test_evaluation_counts.py",
         "tests/truth/test_empty_cases.py", "tests/conformance", "tests/unit/evaluation",
         "tests/property/test_evaluation.py")  # fmt: skip
LIMIT_S = 300
NAMED = {
    "40 % or more instead of more than 40 %": (
        "cmbnet/evaluation/matching.py", "1) > threshold", "1) >= threshold"),
    "6-connectivity": (
        "cmbnet/lesions/components.py", "np.ones((3, 3, 3), dtype=bool)",
        "ndimage.generate_binary_structure(3, 1)"),
    "pooled Dice for the mean over patients": (
        "cmbnet/evaluation/metrics.py", '_mean("dice")', "_dice"),
    "mean precision for the pooled one": (
        "cmbnet/evaluation/metrics.py", '_share("tp", "tp", "fp")', '_mean("precision")'),
}  # fmt: skip
"""Fault -> file, text, replacement."""

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv,
}  # fmt: skip


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Number and description of every fault that can be made in a module."""
    for number, node in enumerate(ast.walk(tree)):
        if _can_break(node):
            line = getattr(node, "lineno", 0)
            yield number, f"line {line}: {ast.unparse(node)[:60]}"


def _can_break(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in COMPARE
    if isinstance(node, ast.BinOp):
        return type(node.op) in ARITHMETIC and not _annotation(node)
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.Not, ast.Invert))
    return isinstance(node, ast.BoolOp)


def _annotation(node: ast.BinOp) -> bool:
    """A union of types such as ``X | None`` is no arithmetic."""
    text = ast.unparse(node)
    return "None" in text or "NDArray" in text


def break_at(source: str, number: int) -> str:
    """The module with one fault."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[number]
    if isinstance(node, ast.Compare):
        node.ops[0] = COMPARE[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp):
        node.op = ARITHMETIC[type(node.op)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        node.value += 1
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp):
        node.operand = ast.UnaryOp(node.op, node.operand)  # twice is not at all
    return ast.unparse(tree)


def killed(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether the tests notice."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        run = subprocess.run(command, cwd=copy, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    return run.returncode == 1


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


def sample(count: int, seed: int) -> list[tuple[Path, int, str]]:
    """A random sample of all faults of the modules."""
    every = [
        (PACKAGE / f"{module}.py", number, text)
        for module in MODULES
        for number, text in faults(ast.parse((ROOT / PACKAGE / f"{module}.py").read_text()))
    ]
    print(f"{len(every)} faults can be made; {min(count, len(every))} are tried.\n")
    return random.Random(seed).sample(every, min(count, len(every)))


def main() -> int:
    """Print every fault that survives, and the score; 1 if a named fault survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="*", default=TESTS)
    options = parser.parse_args()
    tests, bad, dead = tuple(options.tests), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_tree(Path(folder))
        if killed(copy, tests):
            print("The tests fail without any fault.")
            return 1
        for name, (file, old, new) in NAMED.items():
            source = (copy / file).read_text()
            (copy / file).write_text(source.replace(old, new))
            seen = old in source and killed(copy, tests)
            (copy / file).write_text(source)
            bad += not seen
            print(f"{'killed  ' if seen else 'SURVIVED'} {name}", flush=True)
        chosen = sample(options.mutants, options.seed)
        for path, number, text in chosen:
            source = (copy / path).read_text()
            (copy / path).write_text(break_at(source, number))
            seen = killed(copy, tests)
            (copy / path).write_text(source)
            dead += seen
            if not seen:
                print(f"survived {path} {text}", flush=True)
        if chosen:
            print(f"\nkilled {dead} of {len(chosen)}: {dead / len(chosen):.1%}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
