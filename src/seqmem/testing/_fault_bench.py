"""A small study, the store that it runs in, and what can be done to both: the tools of :mod:`seqmem.testing.faults`."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STUDY = """\
mixers: [min_gru, rnn]
tasks: {parity: {length: 8}}
widths: 8
layers: 1
seeds: 2
learning_rates: [0.01, 0.001]
steps: 150
budget: smoke
"""
TIMES = ("train_tokens_per_second", "decode_microseconds", "wall_seconds", "versions", "status_detail")


class Fault(Exception):
    """A promise that was not kept."""


class Bench:
    """A study, the store that it runs in, and chance. whole: a bench on which the same study was run undisturbed."""

    def __init__(
        self, folder: Path, seed: int, study: str = STUDY, patience: float = 300.0, whole: Bench | None = None
    ) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.patience, self.whole = patience, whole  # patience: seconds that a run may take
        self.store, self.out = folder / "store", folder / "out"
        folder.mkdir(parents=True, exist_ok=True)
        self.study = folder / "study.yaml"
        self.study.write_text(study)

    def start(
        self,
        *,
        workers: int = 0,
        out: str = "out",
        path: Path | None = None,
        before: Callable[[], None] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        """``seqmem compare`` as a process. path: of modules that it finds first; before: what the process does before
        anything else; variables: of its environment."""
        words = [sys.executable, "-m", "seqmem", "compare", str(self.study), "--out", str(self.folder / out)]
        words += ["--store", str(self.store), "--workers", str(workers)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(path or ""), *sys.path]))}
        environment |= variables or {}
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=before,
        )  # fmt: skip

    def run(self, *, watch: Callable[[], None] = lambda: None, **how: Any) -> tuple[int, str]:
        """Exit code and what was said on standard error, of a run to its end; meanwhile ``watch`` is called twice a
        second."""
        process = self.start(**how)
        said = attend(process, time.monotonic() + self.patience, watch)
        if said is None:
            process.kill()
            raise Fault(f"a run hung for {self.patience:.0f} seconds")
        return process.returncode, said

    def fill(self) -> None:
        """The store as it is when the study was run undisturbed."""
        if self.whole is None:
            self.run()
        else:
            shutil.copytree(self.whole.store, self.store)

    def kill_soon(self, process: Any, longest: float = 12.0) -> int:
        """SIGKILL after a while that chance decides, unless it has ended by then; its exit code."""
        until = time.monotonic() + self.chance.uniform(0.0, longest)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
        process.communicate()
        return int(process.returncode)

    def finished(self) -> dict[Path, tuple[int, int]]:
        """Every stored result, by what tells whether it was written again."""
        return {path: (s.st_mtime_ns, s.st_ino) for path in self.store.glob("*/*/result.json") if (s := path.stat())}

    def results(self, out: str = "out") -> list[dict[str, Any]]:
        """The lines of results.jsonl without the times."""
        return [{k: v for k, v in record.items() if k not in TIMES} for record in self.records(out)]

    def records(self, out: str = "out") -> list[dict[str, Any]]:
        """The lines of results.jsonl."""
        return [json.loads(line) for line in (self.folder / out / "results.jsonl").read_text().splitlines()]

    def details(self) -> str:
        """All that the results say of how they ended."""
        return "; ".join(record["status_detail"] for record in self.records())

    def to_the_end(self, expected: list[dict[str, Any]], **how: Any) -> None:
        """Run undisturbed, and compare."""
        before = self.finished()
        code, said = self.run(**how)
        expect(code == 0, f"the run after it ended with {code}: {said[-300:]}")
        expect(self.results() == expected, "the results are not those of the undisturbed study")
        after = self.finished()
        again = [path for path, mark in before.items() if after.get(path) != mark]
        expect(not again, f"finished results were written again: {again}")


def expect(kept: bool, otherwise: str) -> None:
    """Raise Fault with the words ``otherwise`` unless the promise was kept."""
    if not kept:
        raise Fault(otherwise)


def attend(
    process: Any, until: float, watch: Callable[[], None], pause: Callable[[], float] = lambda: 0.5
) -> str | None:
    """What the process has said on standard error by its end; None when it is still running at ``until``, of the
    monotonic clock. ``watch`` is called after every ``pause()`` seconds."""
    while (left := until - time.monotonic()) > 0:
        try:
            return str(process.communicate(timeout=min(left, pause()))[1])
        except subprocess.TimeoutExpired:
            watch()
    return None


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def small_disk(size: int) -> Callable[[], None]:
    """For ``before``: no file may grow beyond ``size`` bytes; an error where it is written, as on a full disk."""

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def bound_by_permissions() -> None:
    """For ``before``: permissions count for root, too (the capability CAP_DAC_OVERRIDE is given up for good)."""
    drop_from_bounding_set, override = 24, 1
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
