"""Where results live: a folder per job, named by its hash, shared by any number of processes.

``root/ab/abcdef.../`` holds ``experiment.json`` (the description), ``result.json`` (once finished), ``lock`` (held by
the process that works on it; a process that dies lets go of it), and what the job itself writes: a training
``metrics.jsonl`` (the learning curve) and ``checkpoint.safetensors``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqmem.errors import InputError
from seqmem.loading import parse_json
from seqmem.training.experiment import Experiment
from seqmem.training.files import quarantine, temporary_name, write_json
from seqmem.training.job import Job, R
from seqmem.training.schema import CurvePoint

RESULT = "result.json"


class Busy(Exception):
    """Another process is at work on this job."""


class Store:
    """``Store(path)``; without a path, the folder that SEQMEM_STORE names, else one in the user's cache.

    Raises InputError when the folder cannot be written.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root or os.environ.get("SEQMEM_STORE") or user_cache()).expanduser().absolute()
        self.address = str(self.root)  # by which another process opens it
        require_writable(self.root, "store", "give another with --store or SEQMEM_STORE")

    def folder(self, job: Job[R]) -> Path:
        """Where this job lives, whether it exists yet or not."""
        return folder_of(self.root, job)

    def result(self, job: Job[R]) -> R | None:
        """The record of a finished job; None when there is none, or when it is damaged (then :meth:`run` runs it
        again)."""
        return _read(self.folder(job) / RESULT, job)

    def curve(self, experiment: Experiment) -> list[CurvePoint]:
        """The learning curve so far."""
        from seqmem.training.loop import read_curve

        return read_curve(self.folder(experiment))

    def run(self, job: Job[R], work: Callable[[Path], R]) -> R:
        """The stored result, or else that of ``work(folder)``, which is then stored unless its status is "failed".

        Raises Busy, at once, when another process is at work on the same job.
        """
        folder = self.folder(job)
        with alone_in(folder, job.hash):
            return self._run_alone(job, folder, work)

    def _run_alone(self, job: Job[R], folder: Path, work: Callable[[Path], R]) -> R:
        path, note = folder / RESULT, ""
        if path.exists():
            found = _read(path, job)
            if found is not None:
                return found
            note = f"run again, its damaged record is kept as {quarantine(path)}"
        write_json(folder / "experiment.json", {"hash": job.hash, **job.model_dump(mode="json")})
        result = work(folder)
        if note:
            result["status_detail"] = "; ".join(filter(None, (note, result["status_detail"])))
        if result["status"] != "failed":
            write_json(path, result)
            return _read(path, job) or result  # as every later reader will see it
        return result


def folder_of(root: Path, job: Job[Any]) -> Path:
    """Where a job lives in a store of folders."""
    return root / job.hash[:2] / job.hash


@contextlib.contextmanager
def alone_in(folder: Path, name: str) -> Iterator[None]:
    """Nobody else works in ``folder``, which is made if need be. Raises Busy(name) where somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise Busy(name) from None


def open_store(root: str | os.PathLike[str] | None = None) -> Store:
    """The store in a folder, or at a URL such as ``s3://bucket/folder`` (:mod:`seqmem.training.remote_store`); for None
    as :class:`Store` does."""
    place = root or os.environ.get("SEQMEM_STORE")
    if isinstance(place, str) and "://" in place:
        from seqmem.training.remote_store import RemoteStore

        return RemoteStore(place)
    return Store(place)


def require_writable(folder: Path, what: str, advice: str) -> None:
    """Create ``folder`` if need be. Raises InputError when files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(folder / "probe")
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"{what} folder '{folder}' cannot be written ({error.strerror}); {advice}") from error


def _read(path: Path, job: Job[R]) -> R | None:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if job.is_record(found) else None


def user_cache() -> Path:
    """The user's own store."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("seqmem")) / "store"
