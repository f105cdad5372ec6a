"""The two TLS contexts of a lab's management network.

Both sides show a certificate, and both trust the lab's own authority alone: a certificate of another lab is as good as none. Who may call
agents (labd, hosts) holds a certificate for client authentication; an array's is for server authentication only, and OpenSSL
refuses it as a client's (RFC 5280 4.2.1.12). A server is known by the IP address in its certificate.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def server_context(*, certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """For an agent: TLS 1.2 or later, a client's certificate from the lab's authority required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _trust_only(context, authority)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*, certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """For whoever calls an agent: checks the server's certificate and address, and shows its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust_only(context, authority)
    context.load_cert_chain(certificate, key)
    context.check_hostname = True
    return context


def _trust_only(context: ssl.SSLContext, authority: Path) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=str(authority))
