"""A run knows the commit it was started from, and starts no process to find it."""

from __future__ import annotations

from pathlib import Path

from actrace.capture.environment import git_commit, run_environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def repository(root: Path, head: str) -> Path:
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text(head)
    (root / "sub").mkdir()
    return root / "sub"


def test_a_detached_head_is_the_commit(tmp_path: Path) -> None:
    assert git_commit(repository(tmp_path, COMMIT + "\n")) == COMMIT


def test_a_branch_is_looked_up_loose_and_packed(tmp_path: Path) -> None:
    folder = repository(tmp_path, "ref: refs/heads/main\n")
    assert git_commit(folder) is None
    (tmp_path / ".git" / "packed-refs").write_text(f"# pack\n{COMMIT} refs/heads/main\n")
    assert git_commit(folder) == COMMIT
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text("f" * 40 + "\n")
    assert git_commit(folder) == "f" * 40


def test_a_worktree_points_to_its_repository(tmp_path: Path) -> None:
    repository(tmp_path / "main", "ref: refs/heads/main\n")
    git = tmp_path / "main" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "side").write_text(COMMIT)
    (git / "worktrees" / "side").mkdir(parents=True)
    (git / "worktrees" / "side" / "HEAD").write_text("ref: refs/heads/side")
    (git / "worktrees" / "side" / "commondir").write_text("../..")
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / ".git").write_text("gitdir: ../main/.git/worktrees/side\n")
    assert git_commit(tmp_path / "side") == COMMIT


def test_no_repository_is_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None


def test_the_environment_names_versions_and_host() -> None:
    found = run_environment()
    assert found["host"]
    assert found["torch_version"].startswith("2.")
    assert len(found["run_id"]) == 32
    assert found["ended"] is None
