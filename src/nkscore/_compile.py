"""One way to compile kernels, so that each is made once per machine.

No parallel regions: callers share work between plain threads, which is safe from any thread and
compiles several times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def compiled(signature: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a kernel for exactly one signature, cached on disk, without the interpreter lock."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kernel: Callable[P, R] = numba.njit(signature, nogil=True, cache=True)(function)
        return kernel

    return decorate


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile on first call, cached on disk, without the interpreter lock.

    Nothing is compiled on import, and a call compiles only what it needs. A second number type is
    compiled when it first occurs, which is rare for float64 data.
    """
    compiled: Callable[P, R] = numba.njit(nogil=True, cache=True, boundscheck=False)(function)
    return compiled
