"""Where a run was recorded: machine, versions, commit.

Reads files and asks the interpreter; starts no process. Imports the standard
library and torch's version.
"""

from __future__ import annotations

import platform
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import actrace

__all__ = ["git_commit", "now", "run_environment"]


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_environment() -> dict[str, Any]:
    """Return the root attributes that describe where and when a run begins."""
    return {
        "actrace_version": actrace.__version__,
        "torch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "run_id": uuid.uuid4().hex,
        "started": now(),
        "ended": None,
        "host": socket.gethostname(),
        "git_commit": git_commit(Path.cwd()),
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out where `folder` lies, None if there is none."""
    for place in (folder, *folder.parents):
        git = place / ".git"
        if git.exists():
            try:
                return _head(git)
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _head(git: Path) -> str | None:
    if git.is_file():  # a worktree or submodule points to its folder
        git = (
            git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        ).resolve()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head or None
    ref = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
    for place in (git / ref, shared / ref):
        if place.is_file():
            return place.read_text(encoding="utf-8").strip() or None
    packed = shared / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == ref:
                return commit
    return None
