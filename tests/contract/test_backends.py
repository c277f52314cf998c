"""One contract, every backend: what `cmbnet.backends.base.Backend` promises, each one keeps.

A declared runtime that fails to import fails here; it is never skipped.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import Backend, available_backends, open_backend
from cmbnet.backends.registry import RUNTIMES
from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.errors import BundleError, UsageError
from tests.helpers.tiny_bundle import (
    dot_finder,
    dotted_slices,
    expected_probabilities,
    litert_artefacts,
    spec,
    to_litert,
)

SIZES = (64, 96)
BACKENDS = ("litert:float32", "litert:int8", "onnx:float32", "openvino:float32", "keras:float32")
TOLERANCE = {"float32": 1e-4, "int8": 0.12}
"""int8 holds the darkness in 256 steps, and the sigmoid is steep."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Artefacts of every kind at two sizes, and one LiteRT file with a batch of 4."""
    artefacts = litert_artefacts(SIZES)
    with warnings.catch_warnings():
        # Keras 3.15 and tf2onnx use numpy in ways that numpy 2 has announced to end.
        warnings.simplefilter("ignore")
        for size in SIZES:
            artefacts.append(_saved(size, "keras", "keras"))
            artefacts.append(_saved(size, "onnx", "onnx"))
    folder = tmp_path_factory.mktemp("bundle")
    return write_bundle(folder / "all", spec=spec(), artefacts=artefacts)


def _saved(size: int, kind: str, suffix: str) -> NewArtefact:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"net-{size}.{suffix}"
        if kind == "keras":
            dot_finder(size).save(file)
        else:
            model = dot_finder(size)
            model(np.zeros((1, size, size, 3), np.float32))  # Keras exports only what was called
            model.export(str(file), format="onnx", verbose=False)
        batch = None if kind == "onnx" else 1
        return NewArtefact(
            file=file.name,
            content=file.read_bytes(),
            kind=kind,  # type: ignore[arg-type]
            precision="float32",
            shape=(batch, size, size, 3),
        )


@pytest.fixture(scope="module", params=BACKENDS)
def backend(bundle: Bundle, request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened = open_backend(bundle, request.param, threads=2)
    yield opened
    opened.close()


def test_every_declared_runtime_is_installed_and_tested() -> None:
    for status in available_backends(importing=True):
        assert status.installed, status.detail
        assert not status.broken, status.detail
    # TensorRT needs a GPU: tests/unit/backends/test_tensorrt.py runs all of it but CUDA itself.
    assert {name.partition(":")[0] for name in BACKENDS} == set(RUNTIMES) - {"tensorrt"}


def test_it_says_what_it_is(backend: Backend, request: pytest.FixtureRequest) -> None:
    assert f"{backend.info.name}:{backend.info.precision}" in BACKENDS
    assert backend.info.threads == 2
    assert backend.info.reason.startswith("asked for: ")
    assert backend.shapes == ((64, 64), (96, 96))
    assert any(character.isdigit() for character in backend.info.runtime)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 3, 17])
def test_probabilities_are_those_of_the_network(backend: Backend, n: int, size: int) -> None:
    stacks = dotted_slices(n, size)
    before = stacks.copy()
    output = backend.predict(stacks)
    assert output.dtype == np.float32
    assert output.shape == (n, size, size)
    expected = expected_probabilities(stacks)
    tolerance = TOLERANCE[backend.info.precision]
    assert np.abs(output - expected).max() < tolerance
    assert output.min() >= 0
    assert output.max() <= 1
    assert expected.max() > 0.9  # the dots are there to be found
    assert np.array_equal(stacks, before)


def test_no_slices_give_no_probabilities(backend: Backend) -> None:
    assert backend.predict(np.zeros((0, 96, 96, 3), np.float32)).shape == (0, 96, 96)


def test_the_answer_is_the_same_twice_and_whoever_stands_beside(backend: Backend) -> None:
    stacks = dotted_slices(5, 96, seed=2)
    together = backend.predict(stacks)
    assert np.array_equal(backend.predict(stacks), together)
    alone = np.concatenate([backend.predict(stacks[n : n + 1]) for n in range(5)])
    assert np.array_equal(alone, together)
    assert np.array_equal(backend.predict(np.ascontiguousarray(stacks[::-1])), together[::-1])


def test_a_view_is_taken(backend: Backend) -> None:
    stacks = dotted_slices(4, 96, seed=3)
    assert np.array_equal(backend.predict(stacks[::2]), backend.predict(stacks)[::2])


def test_the_number_of_threads_does_not_change_the_answer(backend: Backend, bundle: Bundle) -> None:
    name = f"{backend.info.name}:{backend.info.precision}"
    single = open_backend(bundle, name, threads=1)
    stacks = dotted_slices(3, 64, seed=4)
    assert single.info.threads == 1
    assert np.abs(single.predict(stacks) - backend.predict(stacks)).max() < 1e-6
    single.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(backend: Backend, bad: float) -> None:
    stacks = dotted_slices(2, 96)
    stacks[1, 5, 6, 0] = bad
    with pytest.raises(UsageError, match="requires finite stacks, got NaN or infinite values"):
        backend.predict(stacks)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 96, 96), np.float32, r"float32 stacks of shape \(n, y, x, 3\), got float32 of shape"),
        ((2, 96, 96, 1), np.float32, r"got float32 of shape \(2, 96, 96, 1\)"),
        ((2, 96, 96, 3), np.float64, "got float64 of shape"),
        ((2, 96, 64, 3), np.float32, "takes slices of 64x64 or 96x96, got 96x64"),
    ],
)
def test_wrong_stacks_are_refused(
    backend: Backend, shape: tuple[int, ...], dtype: type, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        backend.predict(np.zeros(shape, dtype))


def test_it_still_works_after_a_refusal(backend: Backend) -> None:
    with pytest.raises(UsageError):
        backend.predict(np.zeros((1, 5, 5, 3), np.float32))
    assert backend.predict(dotted_slices(1, 64)).shape == (1, 64, 64)


def test_calls_from_two_threads_do_not_mix(backend: Backend) -> None:
    batches = [dotted_slices(4, size, seed=size) for size in (64, 96, 64, 96)]
    alone = [backend.predict(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(backend.predict, batches))
            for one, other in zip(alone, together, strict=True):
                assert np.array_equal(one, other)


def test_two_at_once_and_closed_twice(backend: Backend, bundle: Bundle) -> None:
    name = f"{backend.info.name}:{backend.info.precision}"
    second = open_backend(bundle, name, threads=2)
    stacks = dotted_slices(2, 64)
    assert np.array_equal(second.predict(stacks), backend.predict(stacks))
    second.close()
    second.close()
    with pytest.raises(UsageError, match="was closed; open the backend again"):
        second.predict(stacks)
    assert backend.predict(stacks).shape == (2, 64, 64)


def test_a_damaged_artefact_is_refused(backend: Backend, bundle: Bundle, tmp_path: Path) -> None:
    """The hash is right, the content is none: what a broken export would give."""
    kind = backend.info.name if backend.info.name != "openvino" else "onnx"
    broken = NewArtefact(
        file="broken.keras" if kind == "keras" else "broken.bin",
        content=b"this is no model" * 100,
        kind=kind,  # type: ignore[arg-type]
        precision="float32",
        shape=(1, 96, 96, 3),
    )
    opened = open_backend(
        write_bundle(tmp_path, spec=spec(), artefacts=[broken]), backend.info.name, threads=1
    )
    with pytest.raises(BundleError, match=r"broken\.\w+ is no .*model"):
        opened.predict(dotted_slices(1, 96))
    opened.close()


def test_an_altered_artefact_is_refused(backend: Backend, tmp_path: Path) -> None:
    kind = backend.info.name if backend.info.name != "openvino" else "onnx"
    suffix = "keras" if kind == "keras" else "bin"
    new = NewArtefact(
        file=f"net.{suffix}",
        content=b"0123",
        kind=kind,  # type: ignore[arg-type]
        precision="float32",
        shape=(1, 96, 96, 3),
    )
    bundle = write_bundle(tmp_path, spec=spec(), artefacts=[new])
    opened = open_backend(bundle, backend.info.name, threads=1)
    (tmp_path / new.file).write_bytes(b"3210")
    with pytest.raises(BundleError, match="was altered: sha256"):
        opened.predict(dotted_slices(1, 96))
    opened.close()


@pytest.mark.parametrize("n", [1, 4, 6])
def test_a_litert_file_with_a_batch_of_its_own(tmp_path: Path, n: int) -> None:
    import keras

    inputs = keras.Input(batch_shape=(4, 64, 64, 3))
    batched = keras.Model(inputs, dot_finder(64)(inputs))
    artefact = NewArtefact(
        file="batched.tflite",
        content=to_litert(batched, 64, int8=False),
        kind="litert",
        precision="float32",
        shape=(4, 64, 64, 3),
    )
    backend = open_backend(write_bundle(tmp_path, spec=spec(), artefacts=[artefact]), threads=2)
    stacks = dotted_slices(n, 64)
    assert np.abs(backend.predict(stacks) - expected_probabilities(stacks)).max() < 1e-4
    backend.close()
