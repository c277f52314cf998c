"""TLS in both directions, version 1.2 or newer. A named authority checks certificates."""

from __future__ import annotations

import ssl

from cmbnet.edge.config import TlsSettings
from cmbnet.errors import UsageError


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make the context for callers. With an authority, they must show a certificate.

    Raises:
        UsageError: If a file is missing, or is no certificate or key.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Make the context for outgoing connections. It trusts the named authority, or the system's.

    Raises:
        UsageError: If a file is missing, or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca is None:
        context.load_default_certs()
    return _filled(context, settings)


def _filled(context: ssl.SSLContext, settings: TlsSettings) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError, too
        raise UsageError(
            f"PEM files are required for TLS, {settings.certificate}, {settings.key} or "
            f"{settings.ca} cannot be used: {error}"
        ) from error
    return context
