"""Reading of local and remote ROOT files, with a time limit for servers that never answer."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import uproot

from coffea_iqn.ranges import Range

REMOTE = "://"
SECONDS = Range(above=0, most=86_400)
TIMEOUT = 300.0  # seconds
NOTICE = 5.0  # seconds of waiting before a message

log = logging.getLogger("coffea_iqn")


class RemoteSource(uproot.source.fsspec.FSSpecSource):  # type: ignore[misc]
    """uproot's source for remote files, with a time limit for each request.

    Neither fsspec nor the XRootD client has one, and uproot's own option `timeout` reaches neither.

    Raises
    ------
    TimeoutError: if an answer takes longer than the option `timeout` of `uproot.open` [s].
    """

    def __init__(self, file_path: str, *, timeout: float | None = None, **options: Any) -> None:
        self._named, self._seconds = file_path, TIMEOUT if timeout is None else float(timeout)
        super().__init__(file_path, **options)

    @property
    def num_bytes(self) -> int:
        """The number of bytes in the file."""
        return int(self._in_time(lambda: super(RemoteSource, self).num_bytes))

    def chunk(self, start: int, stop: int) -> Any:
        """See `uproot.source.chunk.Source.chunk`."""
        return self._in_time(lambda: super(RemoteSource, self).chunk(start, stop))

    def chunks(self, ranges: list[tuple[int, int]], notifications: queue.Queue[Any]) -> Any:
        """See `uproot.source.chunk.Source.chunks`; here all chunks are there when it returns."""
        arrived: queue.Queue[Any] = queue.Queue()
        made = super().chunks(ranges, arrived)
        for _ in made:
            notifications.put(self._wait(arrived))
        return made

    def _in_time(self, call: Callable[[], Any]) -> Any:
        """Return the result of a call that may never return, within the time limit."""
        answer: queue.Queue[Any] = queue.Queue()
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                answer.put(call())
            except BaseException as error:  # noqa: BLE001 # raised again in the waiting thread
                failed.append(error)
                answer.put(None)

        threading.Thread(target=ask, daemon=True).start()  # a daemon: it does not keep the process from ending
        value = self._wait(answer)
        if failed:
            raise failed[0]
        return value

    def _wait(self, answers: queue.Queue[Any]) -> Any:
        """Return the next answer, with a message if it takes long."""
        if self._seconds > NOTICE:
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=NOTICE)
            log.warning("%s: waiting for its server, for at most %g s", self._named, self._seconds)
        try:
            return answers.get(timeout=self._seconds - NOTICE if self._seconds > NOTICE else self._seconds)
        except queue.Empty:
            msg = f"{self._named}: expected an answer from its server within {self._seconds:g} s, got none"
            raise TimeoutError(msg) from None


def open_options(paths: Iterable[str], timeout: float = TIMEOUT) -> dict[str, Any]:
    """Return the options for `uproot.open`.

    Local files are read in the calling thread: threads would only wait for each other.

    Parameters
    ----------
    paths: paths of files; a single remote one makes the options those for servers.
    timeout: longest wait for an answer of a server [s].
    """
    if any(REMOTE in path for path in paths):
        return {"handler": RemoteSource, "timeout": timeout}
    return {"handler": uproot.MultithreadedFileSource, "use_threads": False}
