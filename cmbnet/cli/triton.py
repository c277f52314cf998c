"""``cmbnet triton``: look after a Triton server."""

from __future__ import annotations

import click

from cmbnet import RESEARCH_USE_ONLY


@click.group("triton", epilog=RESEARCH_USE_ONLY)
def command() -> None:
    """Look after a Triton server that runs cmbnet."""


@command.command("check", epilog=RESEARCH_USE_ONLY)
@click.argument("url")
def check(url: str) -> None:
    """Check that the server at URL is ready and analyses a whole scan.

    URL is triton+grpc://HOST:PORT or triton+http://HOST:PORT. With an s (triton+grpcs,
    triton+https) it uses TLS. Settings follow a question mark: timeout_s, retries,
    shared_memory, ca, cert, key.
    """
    from cmbnet.deploy.triton.client import check_server

    for line in check_server(url):
        click.echo(line)
    click.echo(RESEARCH_USE_ONLY)
