"""Start of the temporary Prefect server while other work is done."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Thread

from flows.prefect_api import get_client


@contextmanager
def server_starting() -> Iterator[None]:
    """Start the temporary server that the flows of this process run on while the body runs.

    Nothing is started if the settings have the address of a server. An error is left to the first flow, which starts
    the server again and reports it.
    """
    thread = Thread(target=copy_context().run, args=(_start,), daemon=True)
    thread.start()
    yield
    thread.join()


def _start() -> None:
    with suppress(Exception), get_client(sync_client=True):
        pass
