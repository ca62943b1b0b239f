"""The C library, for the system calls Python has no name for."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
