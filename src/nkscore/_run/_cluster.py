"""The dask cluster that a command names."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nkscore._counts._far import client_required
from nkscore.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS: Final = 30


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Let the workers of a cluster do the sums of counts in files; nothing without an address.

    Parameters
    ----------
    address
        Address of the scheduler (``tcp://host:8786``), or the file that it writes
        (``scheduler.json``).

    Raises
    ------
    ClusterError
        If there is no scheduler, or it has no worker.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        msg = "--dask needs distributed: pip install 'nkscore[scale]'."
        raise ImportError(msg) from error
    place = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = Client(**place, timeout=_SECONDS)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        msg = (
            f"No dask scheduler answers at {address} ({error}). Start one (dask scheduler), and "
            "give its address (tcp://host:8786) or its scheduler file."
        )
        raise ClusterError(msg) from error
    with client, client_required():
        if not client.scheduler_info()["workers"]:
            msg = (
                f"The dask scheduler at {address} has no workers. Start some (dask worker "
                f"{address}), and wait until they have joined."
            )
            raise ClusterError(msg)
        yield
