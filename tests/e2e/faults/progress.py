"""What a run says while it goes on."""

import time

_BEGAN = time.monotonic()


def say(what: str) -> None:
    """Print a line with the seconds since the beginning."""
    print(f"{time.monotonic() - _BEGAN:8.1f} s  {what}", flush=True)
