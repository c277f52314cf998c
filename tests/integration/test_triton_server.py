"""A real Triton server, without a GPU: whole scans in, the same lesions out as locally."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import open_backend
from cmbnet.backends.triton_connection import (
    Address,
    ServerRefused,
    ServerUnavailable,
    TritonConnection,
)
from cmbnet.bundle import Bundle, NewArtefact, load_bundle, write_bundle
from cmbnet.deploy.triton.client import ScanAnswer, TritonScanner, check_server
from cmbnet.deploy.triton.config import ServerSettings
from cmbnet.deploy.triton.repository import write_repository
from cmbnet.deploy.triton.spec import MASK, SCAN_INPUTS, SCAN_MODEL, SCAN_OUTPUTS
from cmbnet.errors import CmbnetError, InputRefused, UsageError
from cmbnet.lesions import Lesion
from cmbnet.predict import Prediction, Request, predict_volume
from cmbnet.volume import Volume
from tests.helpers.tiny_bundle import dot_finder, dotted_slices, spec, to_litert
from tests.helpers.tiny_scan import DOTS, tiny_scan
from tests.integration.triton_server import CACHE, TritonServer, self_signed, tls_front, wheel

pytestmark = [
    pytest.mark.xdist_group("triton"),
    pytest.mark.skipif(
        wheel() is None and os.environ.get("CI") != "true",
        reason=f"no wheel of nvidia-pytriton in {CACHE}; .ci/run downloads it",
    ),
]

TRANSPORTS = ("grpc", "http", "grpc?shared_memory=1", "http?shared_memory=1")
MAX_VOXELS = 400_000


@pytest.fixture(scope="module")
def repository(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    settings = ServerSettings(threads=1, max_voxels=MAX_VOXELS)
    assert write_repository(tiny_bundle, folder, precision="float32", settings=settings) == "litert"
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    running = TritonServer(repository, repository.parent / "server.log")
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def served(repository: Path) -> Bundle:
    """The bundle that the server answers from."""
    return load_bundle(repository / "cmbnet" / "1" / "bundle")


def url(server: TritonServer, transport: str, **settings: object) -> str:
    kind, _, query = transport.partition("?")
    port = getattr(server, kind.removesuffix("s"))
    more = "&".join(f"{name}={value}" for name, value in settings.items())
    address = f"triton+{kind}://127.0.0.1:{port}"
    return f"{address}?{'&'.join(part for part in (query, more) if part)}"


@pytest.fixture(params=TRANSPORTS)
def scanner(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[TritonScanner]:
    one = TritonScanner(url(server, request.param))
    yield one
    one.close()


def local(served: Bundle, scan: Volume, **options: object) -> Prediction:
    backend = open_backend(served, threads=1)
    try:
        return predict_volume(scan, served, backend, **options)  # type: ignore[arg-type]
    finally:
        backend.close()


def scan_16bit(seed: int = 0) -> Volume:
    scan = tiny_scan(seed=seed)
    return scan.with_data(np.rint(scan.data).astype(np.int16))


def assert_alive(server: TritonServer) -> None:
    with_dots = TritonScanner(url(server, "grpc"))
    try:
        assert len(with_dots.scan(tiny_scan()).lesions) == len(DOTS)
    finally:
        with_dots.close()


@pytest.mark.parametrize("scan", [tiny_scan(), scan_16bit()], ids=["float32", "int16"])
def test_a_scan_is_answered_as_locally(
    scanner: TritonScanner, served: Bundle, scan: Volume
) -> None:
    answer = scanner.scan(scan, Request(save_probability=True))
    here = local(served, scan.with_data(scan.data.astype(np.float32)))
    assert len(here.found.lesions) == len(DOTS)
    np.testing.assert_array_equal(answer.mask, here.mask)
    np.testing.assert_array_equal(answer.labels, here.found.labels)
    np.testing.assert_array_equal(answer.probability, here.probability.data)
    assert (answer.mask.dtype.name, answer.labels.dtype.name) == ("uint8", "uint16")
    # Through JSON, which is how the table travels: tuples become lists.
    table = json.loads(json.dumps([_fields(one) for one in here.found.lesions], default=asdict))
    assert answer.lesions == table
    assert answer.quality["analysable"]
    assert answer.result["request"]["bundle_sha256"] == served.sha256
    assert answer.result["model"]["backend"] == "triton"


def _fields(lesion: Lesion) -> dict[str, object]:
    return {
        field.name: getattr(lesion, field.name)
        for field in fields(lesion)
        # What only rules and score look at is not told.
        if field.name not in ("profile", "axes_mm", "longest_voxel_side_mm")
    }


def test_mask_operating_point_and_force_reach_the_pipeline(
    server: TritonServer, served: Bundle
) -> None:
    scanner = TritonScanner(url(server, "grpc"))
    scan = tiny_scan()
    half = np.zeros(scan.shape, np.uint8)
    half[:, :, :45] = 1
    for point, mask in (("strict", None), ("balanced", half)):
        answer = scanner.scan(scan, Request(operating_point=point), brain_mask=mask)
        here = local(
            served,
            scan,
            request=Request(operating_point=point),
            brain_mask=None if mask is None else scan.with_data(mask),
        )
        np.testing.assert_array_equal(answer.labels, here.found.labels)
        assert answer.result["model"]["operating_point"] == point
    noise = scan.with_data(np.random.default_rng(0).random(scan.shape).astype(np.float32))
    with pytest.raises(InputRefused, match="not analysable"):
        scanner.scan(noise)
    assert scanner.scan(noise, Request(force=True)).quality["forced"]
    scanner.close()


def test_eight_clients_at_once_get_their_own_answers(server: TritonServer, served: Bundle) -> None:
    scans = [tiny_scan(DOTS[: n % 4], seed=n) for n in range(8)]

    def ask(number: int) -> tuple[int, int]:
        scanner = TritonScanner(url(server, TRANSPORTS[number % 4], timeout_s=60))
        try:
            answers = [scanner.scan(scans[number]) for _ in range(2)]
        finally:
            scanner.close()
        np.testing.assert_array_equal(answers[0].labels, answers[1].labels)
        return number, len(answers[0].lesions)

    with ThreadPoolExecutor(8) as pool:
        counts = dict(pool.map(ask, range(8)))
    assert counts == {n: len(local(served, scans[n]).found.lesions) for n in range(8)}
    assert sorted(set(counts.values())) == [0, 1, 2, 3]


def raw(scan: Volume, **changes: np.ndarray | None) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray | None] = {"VOLUME_FP32": scan.data, "AFFINE": scan.affine}
    return {name: array for name, array in (tensors | changes).items() if array is not None}


SCAN = tiny_scan()
ZEROS = np.zeros(SCAN.shape, np.float32)


@pytest.mark.parametrize(
    ("tensors", "error", "words"),
    [
        (raw(SCAN, AFFINE=None), UsageError, "AFFINE is required"),
        (raw(SCAN, VOLUME_FP32=None), UsageError, "one of VOLUME_FP32 and VOLUME_INT16"),
        (raw(SCAN, VOLUME_INT16=ZEROS.astype(np.int16)), UsageError, "got VOLUME_FP32 and VOL"),
        (raw(SCAN, AFFINE=np.zeros((4, 4))), InputRefused, "affine"),
        (raw(SCAN, AFFINE=np.eye(3)), ServerRefused, "AFFINE.*shape|shape.*AFFINE"),
        (raw(SCAN, VOLUME_FP32=ZEROS.astype(np.float64)), ServerRefused, "VOLUME_FP32"),
        (raw(SCAN, VOLUME_FP32=ZEROS[0]), ServerRefused, "VOLUME_FP32"),
        (raw(SCAN, VOLUME_FP32=ZEROS[:0]), UsageError, "shape"),
        (raw(SCAN, VOLUME_FP32=np.full(SCAN.shape, np.nan, np.float32)), InputRefused, "finite"),
        (raw(SCAN, VOLUME_FP32=np.zeros((50, 100, 100), np.float32)), InputRefused, "at most 4"),
        (raw(SCAN, SPACING_MM=np.array([1.0, 2.0, 3.0])), UsageError, "contradicts the affine"),
        (raw(SCAN, BRAIN_MASK=np.ones((2, 3, 4), np.uint8)), UsageError, "BRAIN_MASK"),
        (raw(SCAN, OPERATING_POINT=np.frombuffer(b"best", np.uint8)), UsageError, "best"),
        (raw(SCAN, NONSENSE=ZEROS), ServerRefused, "NONSENSE"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else getattr(value, "__name__", value)[:24],
)
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_what_is_malformed_is_refused_and_the_server_lives(
    server: TritonServer,
    transport: str,
    tensors: dict[str, np.ndarray],
    error: type[CmbnetError],
    words: str,
) -> None:
    scanner = TritonScanner(url(server, transport))
    with pytest.raises(error, match=words):
        scanner.connection.infer(SCAN_MODEL, tensors, {MASK.name: 0})
    scanner.close()
    assert_alive(server)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_network_alone_is_a_backend(
    server: TritonServer, served: Bundle, transport: str
) -> None:
    remote = open_backend(served, url(server, transport))
    here = open_backend(served, threads=1)
    for count in (1, 3, 40):  # 40 is more than a batch of the server
        stacks = dotted_slices(count, 96, seed=count)
        np.testing.assert_array_equal(remote.predict(stacks), here.predict(stacks))
    assert remote.predict(np.zeros((0, 96, 96, 3), np.float32)).shape == (0, 96, 96)
    with pytest.raises(UsageError, match="96x96"):
        remote.predict(np.zeros((1, 64, 64, 3), np.float32))
    remote.close()
    remote.close()
    with pytest.raises(UsageError, match="closed"):
        remote.predict(stacks)
    here.close()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_check_says_what_is_there(server: TritonServer, transport: str) -> None:
    lines = check_server(url(server, transport))
    assert lines[0].startswith("cmbnet_unet is ready")
    assert lines[1].startswith("cmbnet is ready")
    assert "answered in" in lines[2]
    assert "dot-finder" in lines[2]


def test_metadata_is_the_spec(server: TritonServer) -> None:
    described = json.loads(server.get(server.http, f"/v2/models/{SCAN_MODEL}"))
    for kind, tensors in (("inputs", SCAN_INPUTS), ("outputs", SCAN_OUTPUTS)):
        said = {(t["name"], t["datatype"], tuple(t["shape"])) for t in described[kind]}
        assert said == {(t.name, t.data_type, t.shape) for t in tensors}


def test_metrics_count_the_scans(server: TritonServer) -> None:
    def answered() -> int:
        text = server.get(server.metrics, "/metrics")
        (line,) = (
            line
            for line in text.splitlines()
            if line.startswith("nv_inference_request_success") and 'model="cmbnet",' in line
        )
        return int(float(line.split()[-1]))

    assert_alive(server)
    before = _settled(answered)
    assert_alive(server)
    assert _settled(answered) == before + 1


def _settled(count: Callable[[], int]) -> int:
    """A count that has stopped rising: the server books a request after it has answered it."""
    last = -1
    while (now := count()) != last:
        last = now
        time.sleep(1.0)
    return now


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cmbnet", "triton", *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_command_checks_a_server(server: TritonServer) -> None:
    done = cli("check", url(server, "grpc"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "answered in" in done.stdout
    assert "Not a medical device" in done.stdout


def test_nobody_there_is_one_line_and_an_exit_code() -> None:
    done = cli("check", "triton+grpc://127.0.0.1:9?retries=0&timeout_s=2")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "did not answer" in done.stderr
    assert "tried 1 time" in done.stderr


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None and os.environ.get("CI") != "true":
        pytest.skip("openssl makes the certificates of this test and is not installed")
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_grpc_over_tls_with_certificates_on_both_sides(
    repository: Path, identity: tuple[Path, Path]
) -> None:
    certificate, key = identity
    secure = TritonServer(
        repository,
        repository.parent / "secure.log",
        [
            "--grpc-use-ssl-mutual=true",
            f"--grpc-server-cert={certificate}",
            f"--grpc-server-key={key}",
            f"--grpc-root-cert={certificate}",
        ],
    )
    known = {"ca": certificate, "cert": certificate, "key": key}
    try:
        secure.start()
        scanner = TritonScanner(url(secure, "grpcs", **known))
        assert len(scanner.scan(tiny_scan()).lesions) == len(DOTS)
        scanner.close()
        for strange in ({}, {"ca": certificate}):  # who trusts nobody; whom nobody knows
            scanner = TritonScanner(url(secure, "grpcs", retries=0, timeout_s=10, **strange))
            with pytest.raises(ServerUnavailable):
                scanner.scan(tiny_scan())
            scanner.close()
        with pytest.raises(ServerUnavailable):
            TritonScanner(url(secure, "grpc", retries=0, timeout_s=10)).scan(tiny_scan())
    finally:
        secure.kill()


def test_http_over_tls(server: TritonServer, identity: tuple[Path, Path]) -> None:
    certificate, key = identity
    with tls_front(server.http, certificate, key) as port:
        address = f"triton+https://127.0.0.1:{port}?retries=0"
        scanner = TritonScanner(f"{address}&ca={certificate}")
        assert len(scanner.scan(tiny_scan()).lesions) == len(DOTS)
        scanner.close()
        stranger = TritonScanner(address)
        with pytest.raises(ServerUnavailable, match="certificate"):
            stranger.scan(tiny_scan())
        stranger.close()


@pytest.fixture
def doomed(repository: Path) -> Iterator[TritonServer]:
    """A server of its own, to be killed."""
    running = TritonServer(repository, repository.parent / "doomed.log")
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_frozen_server_is_given_up_in_time(doomed: TritonServer, transport: str) -> None:
    connection = TritonConnection(Address.parse(url(doomed, transport, retries=0, timeout_s=1)))
    stacks = dotted_slices(1, 96)
    connection.infer("cmbnet_unet", {"stack": stacks}, {"probability": stacks.nbytes})
    assert connection.is_ready(["cmbnet", "cmbnet_unet"])
    doomed.freeze()
    start = time.monotonic()
    assert not connection.is_ready()
    with pytest.raises(ServerUnavailable, match="did not answer"):
        connection.metadata("cmbnet")
    with pytest.raises(ServerUnavailable, match="did not answer"):
        connection.infer("cmbnet_unet", {"stack": stacks}, {"probability": stacks.nbytes})
    connection.close()
    assert time.monotonic() - start < 15


def test_the_nan_of_one_client_is_its_own(server: TritonServer, served: Bundle) -> None:
    """Six clients at once keep the queue full, so that Triton batches their requests."""
    good, bad = dotted_slices(4, 96), dotted_slices(4, 96)
    bad[0, 5, 5, 1] = np.nan
    here = open_backend(served, threads=1)
    right = here.predict(good)
    here.close()

    def ask(number: int) -> int:
        remote = TritonConnection(Address.parse(url(server, TRANSPORTS[number % 2], timeout_s=60)))
        stacks, wrong = bad if number == 3 else good, 0
        for _ in range(20):
            try:
                answer = remote.infer("cmbnet_unet", {"stack": stacks}, {"probability": 0})
                np.testing.assert_array_equal(answer["probability"][..., 0], right)
            except UsageError:
                wrong += 1
        remote.close()
        return wrong

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [0, 0, 0, 20, 0, 0]


@pytest.mark.parametrize(
    ("size", "scale", "words"),
    [
        (64, 1.0, r"cmbnet on .* refuses the largest heads: a network shape of at least"),
        (96, 0.0, r"answers black dots with 0\.\d+ and the tissue .* does not run"),
    ],
    ids=["small shape only", "a network that does nothing"],
)
def test_check_refuses_a_server_that_is_ready_and_of_no_use(
    tmp_path: Path, size: int, scale: float, words: str
) -> None:
    model = dot_finder(size)
    model.set_weights([scale * weights for weights in model.get_weights()])
    content = to_litert(model, size, int8=False)
    network = NewArtefact("net.tflite", content, "litert", "float32", (1, size, size, 3))
    bundle = write_bundle(tmp_path / "bundle", spec=spec(), artefacts=[network])
    write_repository(bundle, tmp_path / "models", settings=ServerSettings(threads=1))
    useless = TritonServer(tmp_path / "models", tmp_path / "server.log")
    try:
        useless.start()
        with pytest.raises(ServerRefused, match=words):
            check_server(url(useless, "grpc"))
    finally:
        useless.kill()


def test_a_server_killed_in_mid_request_is_reported_or_asked_again(
    doomed: TritonServer, served: Bundle
) -> None:
    """Two clients wait for frozen models when the server dies: one gives up, one tries again."""
    outcomes: dict[int, ScanAnswer | CmbnetError] = {}

    def ask(retries: int, transport: str) -> None:
        scanner = TritonScanner(url(doomed, transport, retries=retries, timeout_s=60))
        try:
            outcomes[retries] = scanner.scan(tiny_scan())
        except CmbnetError as error:
            outcomes[retries] = error
        finally:
            scanner.close()

    doomed.freeze_models()
    waiting = [
        threading.Thread(target=ask, args=(0, "grpc")),
        threading.Thread(target=ask, args=(6, "http")),
    ]
    for thread in waiting:
        thread.start()
    time.sleep(1.0)
    assert not outcomes, "both must still be waiting"
    doomed.kill()
    waiting[0].join(30)
    assert isinstance(outcomes[0], ServerUnavailable)
    assert "tried 1 time" in str(outcomes[0])
    doomed.start()
    waiting[1].join(60)
    answer = outcomes[6]
    assert isinstance(answer, ScanAnswer), answer
    np.testing.assert_array_equal(
        answer.labels,
        local(served, tiny_scan()).found.labels,
    )
