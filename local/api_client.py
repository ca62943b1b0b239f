"""A client of the HTTP API, as its users would write one."""

from collections.abc import Sequence
from typing import Any

import httpx

from local.lake import Lake
from local.samples import Sample


class ApiClient:
    """Talks to the API of a lake as one of its users."""

    def __init__(self, lake: Lake, username: str | None = None, password: str | None = None) -> None:
        self._base_url = lake.api_url
        self._headers = {"Authorization": lake.sign_in(username, password)}

    def request_uploads(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Ask for the upload forms of up to 100 files."""
        uploads = [
            {
                "content_type": sample.content_type,
                "content_length": len(sample.content),
                "filename": sample.filename,
                "tags": {"album": "samples"},
            }
            for sample in samples
        ]
        answer: dict[str, Any] = self.post("/uploads", json={"uploads": uploads}).raise_for_status().json()
        granted: list[dict[str, Any]] = answer["uploads"]
        return granted

    def image(self, image_id: str) -> dict[str, Any]:
        """What the API says of an image."""
        answer: dict[str, Any] = self.get(f"/images/{image_id}").raise_for_status().json()
        return answer

    def images(self, **query: str | int) -> dict[str, Any]:
        """One page of the caller's images."""
        answer: dict[str, Any] = self.get("/images", params=query).raise_for_status().json()
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a path of the API."""
        return httpx.get(self._base_url + path, headers=self._headers, timeout=60, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """DELETE a path of the API."""
        return httpx.delete(self._base_url + path, headers=self._headers, timeout=60, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST to a path of the API."""
        return httpx.post(self._base_url + path, headers=self._headers, timeout=60, **options)


def send(form: dict[str, Any], content: bytes, content_type: str) -> httpx.Response:
    """Upload a file with the form that the API granted for it; the form carries its own authorization."""
    return httpx.post(form["url"], data=form["fields"], files={"file": ("file", content, content_type)}, timeout=120)
