"""Compile kernels when they are first called, for the number types at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cached on disk, without the interpreter lock.

    Nothing is compiled on import, and only what a call needs: a second number type costs its
    time when it turns up, which for float64 data is seldom. No parallel regions: callers share
    work between plain threads, which is safe from any thread and compiles several times faster.
    """
    compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True, boundscheck=False)(function)
    return compiled
