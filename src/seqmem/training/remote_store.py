"""A store at a URL that any number of machines share: ``file://``, ``s3://``, ``gs://``, whatever fsspec opens.

``URL/results/HASH.json``, ``URL/curves/HASH.jsonl``, ``URL/checkpoints/HASH.safetensors``. One listing of ``results``
tells what is finished, however many there are. Jobs run in a folder of this machine; while they do, their checkpoints
are copied to the URL, from where another machine goes on. There are no locks: of two results of one job the first
stands, and both are the same but for the times.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json
from seqmem.training import checkpoint
from seqmem.training.experiment import Experiment
from seqmem.training.files import to_json
from seqmem.training.job import Job, R
from seqmem.training.schema import CurvePoint
from seqmem.training.store import RESULT, Store, user_cache

LISTED_SECONDS = 5.0  # a listing of what is finished is believed for so long
UPLOAD_SECONDS = 20.0  # between two looks for a new checkpoint
CURVE = "metrics.jsonl"


class RemoteStore(Store):
    """``RemoteStore("s3://bucket/folder")``. ``scratch``: the folder of this machine in which jobs run, by default one
    in the user's cache.

    Raises InputError when the URL cannot be opened or written.
    """

    def __init__(self, url: str, scratch: Path | None = None) -> None:
        super().__init__(scratch or user_cache() / "remote" / hashlib.sha256(url.encode()).hexdigest()[:16])
        self.address = url
        self._listed: tuple[float, frozenset[str]] = (0.0, frozenset())
        try:
            import fsspec

            self.fs, path = fsspec.core.url_to_fs(url)
            self.path = path.rstrip("/")
            for folder in ("results", "curves", "checkpoints"):
                self.fs.makedirs(f"{self.path}/{folder}", exist_ok=True)
            probe = f"{self.path}/.{uuid4().hex}.tmp"
            self.fs.pipe_file(probe, b"")
            self.fs.rm_file(probe)
        except (ImportError, OSError, ValueError) as error:
            reason = line_of(error) or type(error).__name__
            raise InputError(
                f"store '{url}' cannot be written ({reason}); give a folder, or a URL that fsspec can open and write"
            ) from error

    def result(self, job: Job[R]) -> R | None:
        """The record at the URL, if there is a whole one."""
        return self._read(job) if job.hash in self._finished() else None

    def curve(self, experiment: Experiment) -> list[CurvePoint]:
        """The learning curve so far, here or there."""
        if found := super().curve(experiment):
            return found
        from seqmem.training.loop import points_of

        return points_of(self._get(f"curves/{experiment.hash}.jsonl") or b"")

    def run(self, job: Job[R], work: Callable[[Path], R]) -> R:
        """As of :class:`Store`, with a checkpoint from the URL to go on from, and the result put there."""
        if found := self._read(job):
            return found
        folder = self.folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        self._fetch(job, folder)
        with self._uploading(job, folder):
            result = super().run(job, work)
        if result["status"] == "failed":
            return result
        self._upload(job, folder / CURVE, "curves", ".jsonl")
        if (earlier := self._read(job)) is not None:
            return earlier  # of another machine, which was faster
        self._put(f"results/{job.hash}.json", (to_json(result, indent=1) + "\n").encode())
        self._remove(f"checkpoints/{job.hash}.safetensors")
        return self._read(job) or result

    def _read(self, job: Job[R]) -> R | None:
        data = self._get(f"results/{job.hash}.json")
        try:
            found = None if data is None else parse_json(data)
        except ValueError:
            found = None
        if data is not None and not job.is_record(found):
            with contextlib.suppress(OSError):  # kept, and out of the way
                self.fs.mv(f"{self.path}/results/{job.hash}.json", f"{self.path}/results/{job.hash}.json.damaged")
            return None
        return found

    def _finished(self) -> frozenset[str]:
        """The hashes of all results, by one listing."""
        when, names = self._listed
        if time.monotonic() - when > LISTED_SECONDS:
            self.fs.invalidate_cache()
            found = self.fs.ls(f"{self.path}/results", detail=False)
            names = frozenset(name.rpartition("/")[2][:-5] for name in found if name.endswith(".json"))
            self._listed = time.monotonic(), names
        return names

    def _fetch(self, job: Job[R], folder: Path) -> None:
        """Checkpoint and curve of another machine, where this one has neither."""
        if (folder / checkpoint.NAME).exists() or (folder / RESULT).exists():
            return
        for there, here in (
            (f"curves/{job.hash}.jsonl", CURVE),
            (f"checkpoints/{job.hash}.safetensors", checkpoint.NAME),
        ):
            if (data := self._get(there)) is not None:
                (folder / here).write_bytes(data)

    @contextlib.contextmanager
    def _uploading(self, job: Job[R], folder: Path) -> Iterator[None]:
        """Copy every new checkpoint, and the curve before it, while the job runs."""
        over = threading.Event()

        def watch() -> None:
            seen = 0
            while not over.wait(UPLOAD_SECONDS):
                with contextlib.suppress(OSError):
                    written = (folder / checkpoint.NAME).stat().st_mtime_ns
                    if written != seen:
                        self._upload_checkpoint(job, folder)
                        seen = written

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if not (folder / RESULT).exists():  # stopped half-way: the last word
                with contextlib.suppress(OSError):
                    self._upload_checkpoint(job, folder)

    def _upload_checkpoint(self, job: Job[R], folder: Path) -> None:
        """The curve first: it is cut back to the checkpoint's step."""
        self._upload(job, folder / CURVE, "curves", ".jsonl")
        self._upload(job, folder / checkpoint.NAME, "checkpoints", ".safetensors")

    def _upload(self, job: Job[R], file: Path, kind: str, ending: str) -> None:
        if file.exists():
            self._put(f"{kind}/{job.hash}{ending}", file.read_bytes())

    def _put(self, name: str, data: bytes) -> None:
        """Whole or not at all: under another name, then moved."""
        temporary = f"{self.path}/.{uuid4().hex}.tmp"
        self.fs.pipe_file(temporary, data)
        self.fs.mv(temporary, f"{self.path}/{name}")

    def _get(self, name: str) -> bytes | None:
        try:
            data: Any = self.fs.cat_file(f"{self.path}/{name}")
        except (FileNotFoundError, IsADirectoryError):
            return None
        return bytes(data)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self.fs.rm_file(f"{self.path}/{name}")
