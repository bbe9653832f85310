"""``python -m actrace`` is the ``actrace`` command."""

from __future__ import annotations

from actrace.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
