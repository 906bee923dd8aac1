"""One way to compile kernels, so that each is made once per machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a kernel for exactly one signature, cached on disk, without the interpreter lock.

    No parallel regions: callers share work between plain threads, which is safe from any thread
    and compiles several times faster.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        kernel: Callable[..., Any] = numba.njit(signature, nogil=True, cache=True)(function)
        return kernel

    return decorate
