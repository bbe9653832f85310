"""A launch of a compiled kernel from the host, in a few microseconds.

What torch's own way takes (``torch.cuda._utils``) is mostly Python: it loads the driver's
library and wraps each argument anew at every call. Here the arguments lie in a block of
memory with the layout that the kernel has them in, and are written when they change.
May import torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch

__all__ = ["Launch"]

#: The kernel's arguments, in order: addresses, 64-bit and 32-bit integers.
_POINTERS: Final = ("x", "packed", "words", "slot", "sampling", "by_sample", "ticket")
_LONG: Final = (
    "row_words", "layer_at", "active_at", "rows", "cols", "sample_rows", "samples", "block_rows",
)  # fmt: skip
_SHORT: Final = ("units", "unit_is_row", "direct", "n_bins", "threshold", "tx", "copies")


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_longlong) for name in _LONG),
        *((name, ctypes.c_int) for name in _SHORT),
    )


class Launch:
    """One kernel with its grid and its arguments, to be launched many times.

    Parameters
    ----------
    kernel : object
        What `torch.cuda._compile_kernel` returned.
    grid : tuple of (int, int)
    threads : int
        Of a block.
    shared : int
        Bytes of shared memory.
    **arguments : int
        By the names in ``activation_pass.cu``. Addresses are those of memory that the
        caller keeps; `x`, `by_sample` and `ticket` are told by each call.
    """

    __slots__ = ("_arguments", "_driver", "_fixed", "_pointers")

    def __init__(
        self, kernel: Any, grid: tuple[int, int], threads: int, shared: int, **arguments: int
    ) -> None:
        self._driver = _driver()
        self._arguments = _Arguments(**arguments)
        base = ctypes.addressof(self._arguments)
        offsets = [getattr(_Arguments, name).offset for name, *_ in _Arguments._fields_]
        self._pointers = (ctypes.c_void_p * len(offsets))(*(base + at for at in offsets))
        function = kernel.func.value
        self._fixed = (function, *grid, 1, threads, 1, 1, shared)

    def __call__(self, x: int, by_sample: int, ticket: int, stream: int) -> None:
        """Launch it.

        Parameters
        ----------
        x, by_sample, ticket : int
            Addresses.
        stream : int
            Handle of the stream.

        Raises
        ------
        RuntimeError
            The driver refuses.
        """
        arguments = self._arguments
        arguments.x, arguments.by_sample, arguments.ticket = x, by_sample, ticket
        # The driver copies the arguments before it returns.
        failed = self._driver(*self._fixed, stream, self._pointers, None)
        if failed:
            check: Any = torch.cuda._utils._check_cuda
            check(failed)


@cache
def _driver() -> Callable[..., int]:
    """Return the driver's ``cuLaunchKernel``."""
    library: Any = torch.cuda._utils._get_gpu_runtime_library()
    launch: Any = library.cuLaunchKernel
    pointer = ctypes.c_void_p
    launch.argtypes = [pointer, *[ctypes.c_uint] * 7, pointer, pointer, pointer]
    launch.restype = ctypes.c_int
    return launch  # type: ignore[no-any-return]
