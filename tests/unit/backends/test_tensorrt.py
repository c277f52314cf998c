"""The TensorRT backend without CUDA: batches, order, filling up, and what it refuses."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends import Backend, BackendInfo, open_backend
from cmbnet.backends.probe import fingerprint, probe_stack
from cmbnet.backends.tensorrt import SLOTS, TensorRTBackend, require_version
from cmbnet.bundle import Artefact, Bundle, NewArtefact, write_bundle
from cmbnet.errors import BundleError, CmbnetError, MissingExtra, UsageError
from tests.helpers.fake_tensorrt import Cuda, TensorRT
from tests.helpers.tiny_bundle import spec

INFO = BackendInfo("tensorrt", "float16", "none 0", 1, "test")


class FakePipeline:
    """Answers with the middle slice; a slot must be collected before it is used again."""

    batch = 4

    def __init__(self) -> None:
        self.busy: dict[int, NDArray[np.float32]] = {}
        self.most_in_flight = 0
        self.closed = 0

    def submit(self, slot: int, stacks: NDArray[np.float32]) -> None:
        assert slot not in self.busy
        assert stacks.shape == (4, 8, 16, 3)
        self.busy[slot] = stacks.copy()
        self.most_in_flight = max(self.most_in_flight, len(self.busy))

    def collect(self, slot: int) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self.busy.pop(slot)[..., 1:2]
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8, 21])
def test_every_slice_gets_its_own_answer(n: int) -> None:
    pipeline = FakePipeline()
    backend = TensorRTBackend(pipeline, (8, 16), INFO)
    stacks = np.random.default_rng(n).random((n, 8, 16, 3), np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(backend.predict(stacks), stacks[..., 1])
    assert not pipeline.busy
    assert pipeline.most_in_flight == min(SLOTS, -(-n // 4))


def test_wrong_stacks_and_a_closed_backend_are_refused() -> None:
    pipeline = FakePipeline()
    backend = TensorRTBackend(pipeline, (8, 16), INFO)
    with pytest.raises(UsageError, match="takes slices of 8x16, got 16x8"):
        backend.predict(np.zeros((1, 16, 8, 3), np.float32))
    backend.close()
    backend.close()
    assert pipeline.closed == 1
    with pytest.raises(UsageError, match="closed"):
        backend.predict(np.zeros((1, 8, 16, 3), np.float32))


def test_an_engine_that_answers_nan_is_broken() -> None:
    pipeline = FakePipeline()
    pipeline.collect = lambda slot: np.full((4, 8, 16, 1), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(BundleError, match="NaN"):
        TensorRTBackend(pipeline, (8, 16), INFO).predict(np.zeros((1, 8, 16, 3), np.float32))


def artefact(**tools: str) -> Artefact:
    return Artefact(
        file="net.engine",
        sha256=hashlib.sha256(b"engine").hexdigest(),
        bytes=6,
        kind="tensorrt",
        precision="float16",
        shape=(None, 8, 16, 3),
        tools=tools,
    )


def test_an_engine_of_another_version_says_how_to_mend_it() -> None:
    built = artefact(**{"tensorrt-rtx": "1.6"})
    require_version(built, "tensorrt-rtx", "1.6")
    with pytest.raises(
        BundleError, match=r"built by tensorrt-rtx 1.6, 1.7 is installed: export the engine again"
    ):
        require_version(built, "tensorrt-rtx", "1.7")


def engine_bundle(folder: object, **tools: str) -> Bundle:
    new = NewArtefact("net.engine", b"engine", "tensorrt", "float16", (None, 8, 16, 3), tools=tools)
    return write_bundle(str(folder), spec=spec(), artefacts=[new])


def test_opening_without_gpu_or_package_or_origin_is_one_line(tmp_path: object) -> None:
    unknown = engine_bundle(f"{tmp_path}/unknown")
    with pytest.raises(BundleError, match="does not say which TensorRT"):
        open_backend(unknown, "tensorrt:float16", threads=1)
    datacenter = engine_bundle(f"{tmp_path}/dc", tensorrt="10.13")
    with pytest.raises(MissingExtra, match=r"cmbnet\[tensorrt\]"):
        open_backend(datacenter, "tensorrt:float16", threads=1)
    import tensorrt_rtx

    rtx = engine_bundle(f"{tmp_path}/rtx", **{"tensorrt-rtx": tensorrt_rtx.__version__})
    from cmbnet.deploy.tensorrt import gpu_fault

    if gpu_fault() is not None:
        with pytest.raises(CmbnetError, match=r"cannot run: cuda\w+ answered cuda"):
            open_backend(rtx, "tensorrt:float16", threads=1)


SHAPE = (48, 64)
RIGHT = fingerprint(1 - probe_stack(SHAPE)[0, :, :, 1])
CALLS = (
    "deserialize_cuda_engine",
    "create_execution_context",
    "set_optimization_profile_async",
    "set_input_shape",
    "set_tensor_address",
    "execute_async_v3",
)


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, trt: TensorRT, **tools: str) -> Backend:
    """The backend on a stand-in of TensorRT and of CUDA."""
    modules = {"tensorrt_rtx": trt, "cuda.bindings.runtime": trt.cuda}
    real = importlib.import_module
    fake: Any = SimpleNamespace(import_module=lambda name: modules.get(name) or real(name))
    monkeypatch.setattr("cmbnet.backends.tensorrt.importlib", fake)
    new = NewArtefact(
        "net.engine", b"engine", "tensorrt", "float16", (None, *SHAPE, 3),
        tools={"tensorrt-rtx": "1.7", "batches": "1,2,4", **tools},
    )  # fmt: skip
    bundle = write_bundle(folder, spec=spec(), artefacts=[new])
    return open_backend(bundle, "tensorrt", threads=1)


def test_an_engine_that_works_answers_and_gives_its_memory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda()
    backend = opened(tmp_path, monkeypatch, TensorRT(cuda, {}), probe=RIGHT)
    stacks = np.random.default_rng(0).random((5, *SHAPE, 3), np.float32)
    np.testing.assert_array_equal(backend.predict(stacks), 1 - stacks[..., 1])
    backend.close()
    assert not cuda.memory


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_says_no_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """TensorRT answers False or None where it fails; unread, that was "no microbleeds"."""
    answer = None if call.endswith(("engine", "context")) else False
    words = "does not load" if call == "deserialize_cuda_engine" else f"{call} answered {answer};"
    with pytest.raises(BundleError, match=words):
        opened(tmp_path, monkeypatch, TensorRT(Cuda(), {call: answer}), probe=RIGHT)


def test_an_engine_that_says_it_ran_and_did_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda()
    with pytest.raises(BundleError, match=r"known slice with 0.000 where 1.000 is right"):
        opened(tmp_path, monkeypatch, TensorRT(cuda, {}, idle=True), probe=RIGHT)
    assert not cuda.memory


def test_an_engine_whose_right_answer_is_not_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match=r"must answer to the probe.*export the engine again"):
        opened(tmp_path / "none", monkeypatch, TensorRT(Cuda(), {}))
    with pytest.raises(BundleError, match="says 'x' about its probe"):
        opened(tmp_path / "x", monkeypatch, TensorRT(Cuda(), {}), probe="x")
