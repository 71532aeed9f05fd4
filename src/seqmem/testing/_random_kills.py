"""A study of many experiments whose drivers and workers are killed at random, for :mod:`seqmem.testing.faults`.

It is run twice. Undisturbed, which also tells how long this machine takes to begin (two layers of processes that import
torch, and a first experiment) and then to go through it. And in a store of its own, by one driver after the other, each
of which lives for

    uniform(0, 3/2 begin) + uniform(0, 2/SESSIONS rest)

seconds. So on a slow machine as on a fast one many are killed while they begin, about half get something done, and the
end comes in a foreseeable time. Meanwhile workers are killed, too. What is not done after LONGEST times the undisturbed
run is finished without kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from seqmem.testing._fault_bench import STUDY, Bench, attend, children, expect

WORKERS = 2
STEPS = 60  # of a training: a second or less
SESSIONS = 24  # the mean driver has time for so small a part of the experiments, if it begins at once
MOST_WORKERS = 3  # are killed of one driver: it gives up when more die without work
PATIENCE = 5  # drivers that get nothing done, after which they live longer
LONGEST = 10.0  # times the undisturbed run: then no more is killed
TOLD_SECONDS = 10.0  # between two lines of progress


def many(folder: Path, seed: int, count: int) -> str:
    """Both runs; lines of progress on standard error. Returns the figures in a line; raises Fault where the results
    differ, a finished experiment was run again, or a driver broke down.

    ``count`` experiments, or up to three more: two layers at two learning rates, for every seed.
    """
    seeds = -(-count // 4)
    study = STUDY.replace("seeds: 2", f"seeds: {seeds}").replace("steps: 150", f"steps: {STEPS}")
    count, patience, began = 4 * seeds, 300.0 + 10 * count, time.monotonic()
    whole = Bench(folder / "undisturbed", seed, study, patience)
    begin, took = _undisturbed(whole, count)
    bench = Bench(folder / "killed", seed, study, patience)
    killer = _Killer(bench, count, begin, took - begin)
    done = killer.run(LONGEST * took)
    bench.to_the_end(whole.results(), workers=WORKERS)
    return (
        f"{count} experiments, {done} of them finished while {killer} in {_several(killer.sessions, 'session')}, "
        f"{count - done} afterwards: the results of the undisturbed study, none run again once finished "
        f"({minutes(time.monotonic() - began)})"
    )


def _undisturbed(bench: Bench, count: int) -> tuple[float, float]:
    """Seconds until the first result was there, and of the whole run."""
    progress, begin = _Progress("1 of 2, undisturbed", count), 0.0

    def look() -> None:
        nonlocal begin
        done = len(bench.finished())
        begin = begin or (progress.seconds if done else 0.0)
        progress.tell(done)

    code, said = bench.run(watch=look, workers=WORKERS)
    expect(code == 0, f"the undisturbed study ended with {code}: {said[-300:]}")
    expect(len(bench.finished()) == count, f"{len(bench.finished())} results in the undisturbed store, not {count}")
    took = progress.seconds
    return min(begin or took, took), took


class _Killer:
    """Runs the study by drivers that it kills, and their workers. Counts: of drivers and workers killed, of sessions
    (drivers started). begin, rest: seconds of the undisturbed run."""

    def __init__(self, bench: Bench, count: int, begin: float, rest: float) -> None:
        self.bench, self.count, self.chance = bench, count, random.Random(bench.chance.random())
        self.begin, self.rest = begin, rest
        self.progress = _Progress("2 of 2, under kills", count)
        self.drivers = self.workers = self.sessions = 0

    def __str__(self) -> str:
        return f"{_several(self.drivers, 'driver')} and {_several(self.workers, 'worker')} were killed"

    def run(self, longest: float) -> int:
        """Sessions until all is done, or for ``longest`` seconds; how many experiments are finished."""
        done: dict[Path, tuple[int, int]] = {}
        idle = 0
        while len(done) < self.count and self.progress.seconds < longest:
            self.session()
            before, done = done, self.bench.finished()
            again = [path for path, mark in before.items() if done.get(path) != mark]
            expect(not again, f"finished results were written again: {again}")
            idle = idle + 1 if len(done) == len(before) else 0
            if idle == PATIENCE:  # the machine has become slower since it was measured
                idle, self.begin = 0, 1.5 * self.begin
        return len(done)

    def session(self) -> None:
        """One driver, from its start to its end or its death."""
        process, killed_before = self.bench.start(workers=WORKERS), self.workers
        self.sessions += 1

        def strike() -> None:
            self.progress.tell(len(self.bench.finished()), str(self))
            alive = children(process.pid) if self.workers - killed_before < MOST_WORKERS else []
            if alive and self.chance.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.chance.choice(alive), signal.SIGKILL)
                    self.workers += 1

        life = self.chance.uniform(0.0, 1.5 * self.begin) + self.chance.uniform(0.0, 2 * self.rest / SESSIONS)
        said = attend(process, time.monotonic() + life, strike, lambda: self.chance.uniform(0.0, self.begin))
        if said is None:
            process.kill()
            self.drivers += 1
            said = process.communicate()[1]
        whole = process.returncode in (0, 1, -signal.SIGKILL) and "Traceback" not in said
        expect(whole, f"a driver whose workers were killed ended with {process.returncode}: {said[-300:]}")
        self.progress.tell(len(self.bench.finished()), str(self))


class _Progress:
    """Lines on standard error, one in TOLD_SECONDS at most: how much is done, and how long the rest will take."""

    def __init__(self, run: str, count: int) -> None:
        self.run, self.count = run, count
        self.began = self.told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def tell(self, done: int, also: str = "") -> None:
        """Print the line, unless one was printed just now."""
        if time.monotonic() - self.told < TOLD_SECONDS:
            return
        self.told = time.monotonic()
        words = [f"{done} of {self.count} experiments finished", *filter(None, [also]), minutes(self.seconds)]
        if done:
            words.append(f"about {minutes(self.seconds * (self.count - done) / done)} left")
        print(f"{self.run}: {', '.join(words)}", file=sys.stderr, flush=True)


def minutes(seconds: float) -> str:
    """``7 min 05 s``, ``42 s``."""
    whole, rest = divmod(round(seconds), 60)
    return f"{whole} min {rest:02} s" if whole else f"{rest} s"


def _several(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
