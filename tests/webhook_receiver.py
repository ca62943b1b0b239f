"""A webhook on this machine, over TLS with a certificate of its own; a library verifies signatures for it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

HOST: Final = "localhost"


@dataclass
class Receiver:
    """What it was sent. Without `secret` it refuses all; `answers` come before what it would say, one each."""

    port: int
    secret: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    taken: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    refused: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"https://{HOST}:{self.port}/images"

    def receive(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        try:
            told = Webhook(self.secret).verify(body, headers) if self.secret else None
        except WebhookVerificationError:
            told = None
        if told is None:
            self.refused.append((headers, body))
            return 401, {}
        if self.answers:
            return self.answers.pop(0)
        self.taken.append((headers, told))
        return 204, {}


@contextmanager
def receiving(certificate: Path) -> Iterator[Receiver]:
    """A receiver whose certificate is written to a file, which is its own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = certificate.with_suffix(".key")
    _certify(certificate, key)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = receiver.receive(dict(self.headers.items()), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        receiver = Receiver(server.server_port)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _certify(certificate: Path, key: Path) -> None:
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    unencrypted = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted))
