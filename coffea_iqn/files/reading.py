"""How the bytes of ROOT files are read: of this machine, and from servers, which may never answer."""

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
NOTICE = 5.0  # seconds of waiting of which nothing is said

log = logging.getLogger("coffea_iqn")


class RemoteSource(uproot.source.fsspec.FSSpecSource):  # type: ignore[misc]
    """What uproot reads remote files with, but that it gives up on a server which does not answer a request in time.

    Neither fsspec nor the XRootD client does so by itself: uproot's own option `timeout` reaches neither.

    Raises
    ------
    TimeoutError: when an answer takes longer than the option `timeout` of `uproot.open` [s].
    """

    def __init__(self, file_path: str, *, timeout: float | None = None, **options: Any) -> None:
        self._named, self._seconds = file_path, TIMEOUT if timeout is None else float(timeout)
        super().__init__(file_path, **options)

    @property
    def num_bytes(self) -> int:
        """The number of bytes in the file."""
        return int(self._in_time(lambda: super(RemoteSource, self).num_bytes))

    def chunk(self, start: int, stop: int) -> Any:
        """As of `uproot.source.chunk.Source.chunk`."""
        return self._in_time(lambda: super(RemoteSource, self).chunk(start, stop))

    def chunks(self, ranges: list[tuple[int, int]], notifications: queue.Queue[Any]) -> Any:
        """As of `uproot.source.chunk.Source.chunks`, but that all are there when it returns."""
        arrived: queue.Queue[Any] = queue.Queue()
        made = super().chunks(ranges, arrived)
        for _ in made:
            notifications.put(self._wait(arrived))
        return made

    def _in_time(self, call: Callable[[], Any]) -> Any:
        """What a call gives that may never return."""
        answer: queue.Queue[Any] = queue.Queue()
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                answer.put(call())
            except BaseException as error:  # noqa: BLE001 # raised where somebody waits
                failed.append(error)
                answer.put(None)

        threading.Thread(target=ask, daemon=True).start()  # which nobody waits for when the process ends
        value = self._wait(answer)
        if failed:
            raise failed[0]
        return value

    def _wait(self, answers: queue.Queue[Any]) -> Any:
        """The next answer, with a line where it takes long."""
        if self._seconds > NOTICE:
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=NOTICE)
            log.warning("%s: waiting for its server, for %g s at most", self._named, self._seconds)
        try:
            return answers.get(timeout=self._seconds - NOTICE if self._seconds > NOTICE else self._seconds)
        except queue.Empty:
            msg = f"{self._named}: expected an answer of its server within {self._seconds:g} s, got none"
            raise TimeoutError(msg) from None


def open_options(paths: Iterable[str], timeout: float = TIMEOUT) -> dict[str, Any]:
    """The options with which uproot opens these files.

    Those of this machine are read where they are asked for, not in threads that wait for each other.

    Parameters
    ----------
    paths: of files; one of them on a server makes the options those of servers.
    timeout: how long a server may take to answer [s].
    """
    if any(REMOTE in path for path in paths):
        return {"handler": RemoteSource, "timeout": timeout}
    return {"handler": uproot.MultithreadedFileSource, "use_threads": False}
