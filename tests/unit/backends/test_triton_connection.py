"""Addresses of Triton servers, and which faults are worth another try."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import triton_connection as connection
from cmbnet.backends.triton_connection import Address, ServerUnavailable, TritonConnection
from cmbnet.errors import BundleError, InputRefused, UsageError


def test_an_address_says_everything(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_text("x")
    address = Address.parse(
        f"triton+https://gpu-1.example:8443?timeout_s=2.5&retries=0&shared_memory=1&ca={pem}"
    )
    assert address == Address(
        transport="http",
        host="gpu-1.example:8443",
        tls=True,
        timeout_s=2.5,
        retries=0,
        shared_memory=True,
        ca=pem,
    )
    assert str(address) == "triton+https://gpu-1.example:8443"
    assert Address.parse("triton+grpc://[::1]:8001").host == "[::1]:8001"
    assert not Address.parse("triton+grpc://a:1").tls


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://a:1", "an address like"),
        ("triton+grpc://a", "an address like"),
        ("triton+grpc://:8001", "an address like"),
        ("triton+grpc://a:99999", "an address like"),
        ("triton+grpc://a:1/models", "an address like"),
        ("triton+grpc://a:1?timeout=3", "unknown key 'timeout'"),
        ("triton+grpc://a:1?timeout_s=0", "timeout_s: "),
        ("triton+grpc://a:1?timeout_s=nan", "timeout_s: "),
        ("triton+grpc://a:1?host=b", "host stands before"),
        ("triton+grpc://a:1?retries=-1", "retries: "),
        ("triton+grpc://a:1?shared_memory=maybe", "shared_memory: "),
        ("triton+grpcs://a:1?ca=/no/such/file", "ca: Path does not point to a file"),
    ],
)
def test_what_is_no_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Address.parse(text)


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that takes connections, waits for a word and hangs up."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    open_now = True

    def serve() -> None:
        while open_now:
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.recv(100)
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    port = server.getsockname()[1]
    yield port
    open_now = False
    with socket.create_connection(("127.0.0.1", port)) as last:
        last.sendall(b"bye")
    thread.join()
    server.close()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_server_that_hangs_up_is_tried_again_as_often_as_asked(
    deaf: int, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cmbnet.backends.triton_connection.time.sleep", waits.append)
    one = TritonConnection(Address.parse(f"triton+{transport}://127.0.0.1:{deaf}?retries=3"))
    with pytest.raises(ServerUnavailable, match=r"did not answer .* tried 4 times"):
        one.infer("m", {"a": np.zeros(1, np.float32)}, {"b": 0})
    assert [wait for wait in waits if wait >= 0.5] == [0.5, 1.0, 2.0]
    one.close()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_silent_server_is_given_up_in_time(transport: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        one = TritonConnection(
            Address.parse(f"triton+{transport}://127.0.0.1:{port}?retries=0&timeout_s=0.5")
        )
        start = time.monotonic()
        with pytest.raises(ServerUnavailable, match="did not answer"):
            one.infer("m", {"a": np.zeros(1, np.float32)}, {"b": 0})
        assert time.monotonic() - start < 30
        one.close()


def fault(message: str, status: str | None = None) -> Exception:
    from tritonclient.utils import InferenceServerException

    error: Exception = InferenceServerException(message, status)
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (fault("x", "StatusCode.UNAVAILABLE"), True),
        (fault("x", "StatusCode.DEADLINE_EXCEEDED"), True),
        (fault("x", "503"), True),
        (ConnectionResetError(), True),
        (fault("x", "StatusCode.INVALID_ARGUMENT"), False),
        (fault("x", "StatusCode.NOT_FOUND"), False),
        (fault("x", "400"), False),
    ],
)
def test_only_what_was_not_answered_is_asked_again(error: Exception, again: bool) -> None:
    assert connection._is_transient(error) is again


def test_the_servers_own_errors_come_back_as_what_they_were() -> None:
    class NoBrain(InputRefused):
        """A child arrives as the kind that it is of."""

    sent = connection.fault_text(NoBrain("no brain"))
    refused = connection._refusal(fault(f"in model: {sent}", "400"))
    assert (type(refused), str(refused)) == (InputRefused, "no brain")
    assert connection.fault_text(BundleError("x")) == "BundleError: x"
    wrong = connection._refusal(fault("UsageError: no such point", "400"))
    assert (type(wrong), str(wrong)) == (UsageError, "no such point")
    other = connection._refusal(fault("out of\nmemory", "500"))
    assert str(other) == "the Triton server refused: out of memory"
