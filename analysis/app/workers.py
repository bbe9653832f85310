"""Threads that read and draw, so that a page answers while they do.

One draws: neither matplotlib nor HoloViews' options are safe in several threads.
Imports nothing beyond the standard library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """The threads of one server, shared by all its sessions."""

    def __init__(self) -> None:
        self._draw = ThreadPoolExecutor(1, "actrace-draw")
        self._read = ThreadPoolExecutor(2, "actrace-read")

    async def draw(self, work: Callable[[], T]) -> T:
        """Return what the work returns, done on the thread that draws."""
        return await asyncio.get_running_loop().run_in_executor(self._draw, work)

    async def read(self, work: Callable[[], T]) -> T:
        """Return what the work returns, done on a thread that reads."""
        return await asyncio.get_running_loop().run_in_executor(self._read, work)

    def close(self) -> None:
        """Begin nothing more; what is being done goes on to its end."""
        self._draw.shutdown(wait=False, cancel_futures=True)
        self._read.shutdown(wait=False, cancel_futures=True)
