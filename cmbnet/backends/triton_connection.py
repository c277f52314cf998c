"""A connection to a Triton server: address, TLS, time limits, retries, shared memory.

Addresses are ``triton+grpc://host:port`` and ``triton+http://host:port``. With an ``s``
(``triton+grpcs``, ``triton+https``) the connection uses TLS. Settings follow as a query:
``?timeout_s=60&retries=2&shared_memory=1&ca=FILE&cert=FILE&key=FILE``.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from cmbnet.backends.triton_memory import SharedRegion
from cmbnet.errors import CmbnetError, InputRefused, UsageError, require
from cmbnet.io.settings import FrozenModel, check_settings

SCHEMES = ("triton+grpc", "triton+grpcs", "triton+http", "triton+https")
FIRST_WAIT_S = 0.5
"""Wait before the first retry, in seconds. It doubles before each further retry."""

_REMOTE_KINDS: tuple[type[CmbnetError], ...] = (InputRefused, UsageError)
"""Errors of a request that the client raises with the class that the server raised."""

_TRANSIENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "499", "502", "503", "504")


class ServerUnavailable(CmbnetError):
    """A Triton server does not answer, or stopped answering in the middle of a request."""


class ServerRefused(CmbnetError):
    """A Triton server answered with an error."""


class Address(FrozenModel):
    """The address of a server, and the settings of the connection."""

    transport: Literal["grpc", "http"]
    host: str
    """Host and port, as in "host:port"."""
    tls: bool = False
    """Whether the connection is encrypted."""
    timeout_s: Annotated[float, Field(gt=0, lt=86400)] = 120.0
    """Seconds until a request is given up, its answer included."""
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """Further tries if a request gets no answer. A refused request is never repeated."""
    shared_memory: bool = False
    """Whether arrays pass through shared memory. Client and server must then share a machine."""
    ca: pydantic.FilePath | None = None
    """PEM file with the trusted certificates. None trusts those of the system (gRPC trusts those
    that it brings along)."""
    cert: pydantic.FilePath | None = None
    """PEM file with the client's certificate chain."""
    key: pydantic.FilePath | None = None
    """PEM file with the client's private key."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            UsageError: If the address is wrong. It says what is wrong.

        Examples:
            >>> Address.parse("triton+grpcs://gpu1:8001?timeout_s=5").timeout_s
            5.0
        """
        parts = urlsplit(text)
        try:
            port = parts.port
        except ValueError:
            port = None
        if (
            parts.scheme not in SCHEMES
            or not parts.hostname
            or port is None
            or parts.path.strip("/")
        ):
            raise UsageError(
                f"an address like triton+grpc://host:8001 is required ({', '.join(SCHEMES)}), "
                f"got {text!r}"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        stated = {
            "transport": "grpc" if "grpc" in parts.scheme else "http",
            "host": f"{host}:{port}",
            "tls": parts.scheme.endswith("s"),
        }
        settings = dict(parse_qsl(parts.query, keep_blank_values=True))
        if twice := settings.keys() & stated.keys():
            raise UsageError(f"{text}: {min(twice)} stands before the question mark")
        return check_settings(settings | stated, cls, what="Triton address", source=text)

    def __str__(self) -> str:
        return f"triton+{self.transport}{'s' if self.tls else ''}://{self.host}"


class TritonConnection:
    """A connection to one server. Several threads may use it.

    Args:
        address: Address of the server. Nothing is sent before the first call.

    Raises:
        MissingExtra: If tritonclient is not installed.
    """

    def __init__(self, address: Address) -> None:
        require("tritonclient", extra="triton", purpose="to ask a Triton server")
        self.address = address
        self._local = threading.local()
        self._clients: list[Any] = []
        self._regions: list[SharedRegion] = []
        self._lock = threading.Lock()

    def is_ready(self, models: Sequence[str] = ()) -> bool:
        """Return whether the server and the models are ready. A silent server is not ready."""
        try:
            client, limit = self._client(), self._time_limit()
            return bool(client.is_server_ready(**limit)) and all(
                client.is_model_ready(model, **limit) for model in models
            )
        except self._faults():
            self._forget_client()
            return False

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the server's description of a model: ``inputs`` and ``outputs``.

        Raises:
            ServerUnavailable: If the server does not answer.
            ServerRefused: If the server does not know the model.
        """
        options: dict[str, Any] = self._time_limit()
        if self.address.transport == "grpc":
            options["as_json"] = True
        found: dict[str, Any] = self._retrying(
            lambda: self._client().get_model_metadata(model, **options)
        )
        return found

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, int],
    ) -> dict[str, NDArray[Any]]:
        """Send inputs to a model and return its outputs.

        Args:
            model: Name of the model.
            inputs: Arrays by tensor name. Text is bytes in an object array.
            outputs: Names of the wanted tensors with their size in bytes, or 0 if the size is
                unknown.

        Returns:
            Arrays by name. They own their memory.

        Raises:
            ServerUnavailable: If the server does not answer, also after the retries.
            InputRefused, UsageError: If the server raised them.
            ServerRefused: For any other error of the server.
        """
        arrays: dict[str, NDArray[Any]] = self._retrying(
            lambda: self._infer_once(model, inputs, outputs)
        )
        return arrays

    def close(self) -> None:
        """Close every connection and free the shared memory. Closing again does nothing."""
        with self._lock:
            regions, self._regions = self._regions, []
            clients, self._clients = self._clients, []
        for region in regions:
            region.close()
        for client in clients:
            client.close()
        self._local = threading.local()

    def _infer_once(
        self, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, int]
    ) -> dict[str, NDArray[Any]]:
        module, client = self._module(), self._client()
        region = self._region(client) if self.address.shared_memory else None
        asked = [_input(module, name, array) for name, array in inputs.items()]
        wanted = [module.InferRequestedOutput(name) for name in outputs]
        if region is None:
            for tensor, array in zip(asked, inputs.values(), strict=True):
                tensor.set_data_from_numpy(np.ascontiguousarray(array))
        else:
            region.attach(asked, list(inputs.values()), wanted, list(outputs.values()))
        answer = client.infer(model, asked, outputs=wanted, **self._time_limit())
        if region is not None:
            return region.read(answer, list(outputs))
        return {name: answer.as_numpy(name) for name in outputs}

    def _retrying(self, call: Callable[[], Any]) -> Any:
        """Repeat a call that got no answer. A refusal is raised at once."""
        tries = self.address.retries + 1
        attempt = 1
        while True:
            try:
                return call()
            except self._faults() as error:
                if not _is_transient(error):
                    raise _refusal(error) from error
                self._forget_client()
                if attempt == tries:
                    raise ServerUnavailable(
                        f"{self.address} did not answer ({_words(error)}); tried {tries} "
                        f"time{'s' if tries > 1 else ''}. Is the server running? "
                        "cmbnet triton check tells"
                    ) from error
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
                attempt += 1

    def _module(self) -> Any:
        if self.address.transport == "grpc":
            import tritonclient.grpc as module
        else:
            import tritonclient.http as module
        return module

    def _faults(self) -> tuple[type[Exception], ...]:
        """Return the exceptions of the client library and of its transport."""
        from http.client import HTTPException

        from tritonclient.utils import InferenceServerException

        return (InferenceServerException, OSError, EOFError, HTTPException)

    def _client(self) -> Any:
        """Return the client of the calling thread, because threads must not share HTTP clients."""
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._open()
            with self._lock:
                self._clients.append(client)
        return client

    def _open(self) -> Any:
        address = self.address
        if address.transport == "grpc":
            files = {
                "root_certificates": address.ca,
                "private_key": address.key,
                "certificate_chain": address.cert,
            }
            paths = {name: None if path is None else str(path) for name, path in files.items()}
            return self._module().InferenceServerClient(address.host, ssl=address.tls, **paths)
        limits: dict[str, Any] = {
            "connection_timeout": address.timeout_s,
            "network_timeout": address.timeout_s,
        }
        if address.tls:
            limits |= {"ssl": True, "ssl_context_factory": self._tls_context}
        return self._module().InferenceServerClient(address.host, **limits)

    def _tls_context(self) -> Any:
        import ssl

        context = ssl.create_default_context(cafile=self.address.ca)
        if self.address.cert is not None:
            context.load_cert_chain(self.address.cert, self.address.key)
        return context

    def _time_limit(self) -> dict[str, float]:
        """Return the arguments that limit the time of a call. An HTTP client needs none."""
        return (
            {"client_timeout": self.address.timeout_s} if self.address.transport == "grpc" else {}
        )

    def _region(self, client: Any) -> SharedRegion:
        region = getattr(self._local, "region", None)
        if region is None:
            name = f"cmbnet-{uuid.uuid4().hex}"
            region = self._local.region = SharedRegion(name, client, self._time_limit())
            with self._lock:
                self._regions.append(region)
        return region

    def _forget_client(self) -> None:
        """Connect anew next time. A server that came back knows no shared memory either."""
        region = getattr(self._local, "region", None)
        client = getattr(self._local, "client", None)
        with self._lock:
            self._regions = [one for one in self._regions if one is not region]
            self._clients = [one for one in self._clients if one is not client]
        self._local.region = self._local.client = None
        for held in (region, client):
            if held is not None:
                held.close()


def _input(module: Any, name: str, array: NDArray[Any]) -> Any:
    from tritonclient.utils import np_to_triton_dtype

    return module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))


def _is_transient(error: Exception) -> bool:
    """Return whether a retry may help, because there was no answer instead of a refusal."""
    status = getattr(error, "status", None)
    if status is None:
        return True  # an error of the socket or of HTTP itself
    code = status()
    if code is None:  # the HTTP client's own words
        return "failed to obtain inference response" in str(error)
    return any(code.endswith(name) for name in _TRANSIENT)


def fault_text(error: CmbnetError) -> str:
    """Write an error for sending, so that `TritonConnection` can raise the same class again."""
    kind = next((kind for kind in _REMOTE_KINDS if isinstance(error, kind)), type(error))
    return f"{kind.__name__}: {error}"


def _refusal(error: Exception) -> CmbnetError:
    """Turn the server's error into cmbnet's own error, if cmbnet raised it on the server."""
    words = _words(error)
    for kind in _REMOTE_KINDS:
        mark = f"{kind.__name__}: "
        if mark in words:
            return kind(words.split(mark, 1)[1])
    return ServerRefused(f"the Triton server refused: {words}")


def _words(error: Exception) -> str:
    message = getattr(error, "message", None)
    text = message() if message is not None else str(error)
    return " ".join(str(text or type(error).__name__).split())
