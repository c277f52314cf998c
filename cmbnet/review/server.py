"""The server of the page. It listens on loopback and answers who knows the token."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from cmbnet.errors import CmbnetError, UsageError, printable
from cmbnet.review.log import StaleRevision
from cmbnet.review.session import Session, Wish

ADDRESS: Final = "127.0.0.1"
HOSTS: Final = (ADDRESS, "localhost")
"""Names under which the page is asked for. Under another, a page of a stranger could reach it."""

MOST_BYTES: Final = 1 << 22
"""A request has at most this many."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES: Final = {
    name: Path(__file__).parent / "page" / (name or "review.html")
    for name in ("", "review.js", "review.css")
}
"""Files of the page by their paths below the token."""


def serve(session: Session, *, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until the process is told to stop.

    Args:
        session: The review.
        port: Port of the loopback address. With 0, the system chooses one.
        say: Function that receives the address of the page when it is ready.

    Raises:
        UsageError: If the port is taken.
    """
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}); give another", argument="port"
        ) from error
    token = secrets.token_urlsafe(16)
    config = uvicorn.Config(
        application(session, token),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    with listening:
        say(f"http://{ADDRESS}:{listening.getsockname()[1]}/{token}/")
        uvicorn.Server(config).run(sockets=[listening])


def application(session: Session, token: str) -> Starlette:
    """Make the web application of a review below ``/<token>/``."""

    def file(request: Request) -> Response:
        return FileResponse(FILES[request.url.path.removeprefix(f"/{token}/")], headers=HEADERS)

    def listing(_: Request) -> Response:
        return _answer(session.listing)

    def case(request: Request) -> Response:
        return _answer(lambda: session.show(request.path_params["number"]))

    def pixels(request: Request) -> Response:
        return _answer(lambda: session.pixels(request.path_params["number"]))

    def phase(request: Request) -> Response:
        return _answer(lambda: session.phase(request.path_params["number"]))

    async def act(request: Request) -> Response:
        content = b""
        async for piece in request.stream():
            content += piece
            if len(content) > MOST_BYTES:
                return _fault(413, "the request is too large")
        number = request.path_params["number"]
        return await run_in_threadpool(
            _answer, lambda: session.act(number, Wish.model_validate_json(content))
        )

    routes = [
        *(Route(f"/{name}", file) for name in FILES),
        Route("/cases", listing),
        Route("/cases/{number:int}", case),
        Route("/cases/{number:int}", act, methods=["POST"]),
        Route("/cases/{number:int}/pixels", pixels),
        Route("/cases/{number:int}/phase", phase),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))],
    )


def _answer(get: Callable[[], dict[str, Any] | bytes]) -> Response:
    """Answer with what a function returns, or with the sentence of its fault."""
    try:
        content = get()
    except StaleRevision as error:
        return _fault(409, str(error))
    except ValidationError as error:
        return _fault(400, f"this is no request of the page: {error.errors()[0]['msg']}")
    except CmbnetError as error:
        return _fault(422, str(error))
    except IndexError:
        return _fault(404, "there is no such case")
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        return _fault(507, f"the disk refused it: {where}{error.strerror or error}")
    if isinstance(content, bytes):
        return Response(content, media_type="application/octet-stream", headers=HEADERS)
    return JSONResponse(content, headers=HEADERS)


def _fault(status: int, sentence: str) -> Response:
    return JSONResponse({"error": printable(sentence)}, status_code=status, headers=HEADERS)
