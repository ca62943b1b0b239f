"""An answer that cannot be handed to Lambda's Runtime API is returned as usual, whatever went wrong."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from imagelake.engine import environment


@contextmanager
def _api_that_says(said: bytes) -> Iterator[str]:
    """An address that reads one request and answers `said`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                request = b""
                while not request.endswith(b"{}"):
                    request += connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", False),
        (b"", False),
        (b"not HTTP\r\n", False),
        (b"HTTP/1.1 202 Accepted\r\n" + 200 * b"X: x\r\n" + b"\r\n", False),
    ],
    ids=["accepted", "refused", "hung up", "not HTTP", "too many headers"],
)
def test_only_an_answer_that_lambda_has_taken_counts_as_sent(
    said: bytes, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _api_that_says(said) as address:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", address)

        assert environment._send("8b1d1f5e", "response", {}) is is_taken
