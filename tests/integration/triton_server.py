"""A real Triton server for tests, out of the wheel nvidia-pytriton.

The wheel is unpacked, never installed: it pins an old NumPy. `.ci/run` downloads it::

    python -m pip download nvidia-pytriton==0.7.0 --no-deps -d .cache/pytriton
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "pytriton"
VERSION = "0.7.0"
READY_S = 120.0


def wheel() -> Path | None:
    """The downloaded wheel, or None."""
    return next(iter(sorted(CACHE.glob(f"nvidia_pytriton-{VERSION}-*.whl"))), None)


def unpack(archive: Path) -> Path:
    """Unpack the wheel once, whoever comes first, and add the stub for this Python."""
    folder = CACHE / f"unpacked-{VERSION}"
    with FileLock(CACHE / "unpack.lock"):
        if not folder.exists():
            _unpack(archive, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        with zipfile.ZipFile(archive) as wheel_file:
            wheel_file.extractall(temporary)
        # A wheel keeps no execute permissions when it is unpacked by hand.
        server = Path(temporary) / "pytriton" / "tritonserver"
        for program in (server / "bin", server / "python_backend_stubs" / python):
            for file in program.iterdir():
                file.chmod(0o755)
        shutil.copy2(
            server / "python_backend_stubs" / python / "triton_python_backend_stub",
            server / "backends" / "python",
        )
        Path(temporary).rename(folder)
        Path(temporary).mkdir()  # for its own removal


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _stop(pid: int) -> None:
    """Stop a process and wait until each of its threads stands still: the signal takes its time."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    while any(_state(thread) != "T" for thread in threads.iterdir()):
        time.sleep(0.01)


def _state(thread: Path) -> str:
    """State of a thread, a letter: the field after the name, which is in brackets."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


class TritonServer:
    """One server process and the processes of its models.

    Args:
        repository: Its models.
        log: Receives what it prints.
        options: Further options of tritonserver.
    """

    def __init__(self, repository: Path, log: Path, options: Sequence[str] = ()) -> None:
        archive = wheel()
        assert archive is not None
        self._folder = unpack(archive)
        self._repository = repository
        self._log = log
        self._options = options
        self.http, self.grpc, self.metrics = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self._memory = f"cmbnet-test-{os.getpid()}-{self.http}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        server = self._folder / "pytriton" / "tritonserver"
        libraries = [self._folder / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            # The embedded interpreter finds its site-packages through the first python on PATH.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
        }
        command: list[str | Path] = [
            server / "bin" / "tritonserver",
            f"--model-repository={self._repository}",
            f"--backend-directory={server / 'backends'}",
            f"--http-port={self.http}",
            f"--grpc-port={self.grpc}",
            f"--metrics-port={self.metrics}",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            f"--backend-config=python,shm-region-prefix-name={self._memory}",
            "--exit-timeout-secs=5",
            *self._options,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            try:
                self.get(self.http, "/v2/health/ready")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(self._log.read_text()[-3000:])

    def get(self, port: int, path: str) -> str:
        """The answer to an HTTP GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def model_processes(self) -> list[int]:
        """Process ids of the Python backend's stubs."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = {int(pid) for pid in children.read_text().split()}
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        return sorted(found)

    def freeze(self) -> None:
        """Let the server itself stop in the middle of whatever it does."""
        assert self._process is not None
        _stop(self._process.pid)

    def freeze_models(self) -> None:
        """Let the models stop in the middle of whatever they do."""
        for pid in self.model_processes():
            _stop(pid)

    def kill(self) -> None:
        """End it at once, as a power cut would, and its models with it."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None
        for region in Path("/dev/shm").glob(f"{self._memory}*"):
            region.unlink(missing_ok=True)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key, PEM."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=cmbnet-test", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@contextlib.contextmanager
def tls_front(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """A port that takes TLS and passes what it hears to a plain one; Triton's HTTP has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # the test is over
        try:
            client = context.wrap_socket(client, server_side=True)
        except OSError:
            continue  # a client that trusts nobody
        server = socket.create_connection(("127.0.0.1", port))
        for pair in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
