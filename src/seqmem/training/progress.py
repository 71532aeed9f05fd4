"""Watching many jobs run: a live display in a terminal, one line per finished job elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqmem.training.events import Event
from seqmem.training.job import Job


class StudyProgress:
    """``with StudyProgress() as progress: run_study(..., progress=progress)``.

    On a terminal: how much is done, how long it will take, and a line per running job. Elsewhere (a file, a pipe)
    a plain line for every job that ends. Nothing is left of the live display but a line. ``noun``: the name of jobs.
    """

    def __init__(self, console: Console | None = None, noun: str = "experiments") -> None:
        self.console = console or Console(stderr=True)
        self.state = StudyState(noun)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=5, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self.console.print(Text(self.state.counts()))

    def __call__(self, event: Event) -> None:
        self.state.update(event)
        line = self.state.line(event)
        if line and (self._live is None or event.kind == "retried" or _went_wrong(event)):
            self.console.print(Text(line), soft_wrap=True)

    def _render(self) -> Group:
        state = self.state
        overall = Table.grid(padding=(0, 1))
        overall.add_row(ProgressBar(total=1.0, completed=state.fraction(), width=40), Text(state.counts()))
        running = Table.grid(padding=(0, 2))
        for event in list(state.running.values()):
            bar = ProgressBar(total=event.steps, completed=event.step, width=12)
            running.add_row(Text("  " + event.job.label), bar, Text(event.words))
        return Group(overall, running)


class StudyState:
    """What the events so far add up to."""

    def __init__(self, noun: str = "experiments") -> None:
        self.noun = noun
        self.jobs: dict[str, Job[Any]] = {}
        self.ended: dict[str, str] = {}  # job -> status
        self.reused: set[str] = set()
        self.running: dict[str, Event] = {}
        self.start = time.monotonic()

    def update(self, event: Event) -> None:
        """Take in one event."""
        name = event.job.hash
        self.jobs[name] = event.job
        if event.kind in ("started", "step"):
            self.running[name] = event
        elif event.kind != "queued":
            self.running.pop(name, None)
        if event.result is not None:
            self.ended[name] = event.result["status"]
        if event.kind == "reused":
            self.reused.add(name)

    def fraction(self) -> float:
        """The part of all work that is done, from 0 to 1; for trainings, of the tokens to be read."""
        total = sum(job.size for job in self.jobs.values())
        done = sum(self.jobs[name].size for name in self.ended) + self._under_way()
        return done / total if total else 0.0

    def seconds_left(self) -> float | None:
        """At the pace so far; None before there is one."""
        mine = [name for name in self.jobs if name not in self.reused]
        total = sum(self.jobs[name].size for name in mine)
        done = sum(self.jobs[name].size for name in mine if name in self.ended) + self._under_way()
        seconds = time.monotonic() - self.start
        return seconds * (total - done) / done if done > 0.02 * total else None

    def counts(self) -> str:
        """One line: how many are done, how they ended, how long it took and will take."""
        parts = [f"{len(self.ended)}/{len(self.jobs)} {self.noun}"]
        if self.reused:
            parts.append(f"{len(self.reused)} from the store")
        for status in ("solved", "diverged", "failed"):
            if count := sum(ended == status for ended in self.ended.values()):
                parts.append(f"{count} {status}")
        parts.append(clock(time.monotonic() - self.start))
        left = self.seconds_left()
        if left:
            parts.append(f"about {clock(left)} left")
        return " · ".join(parts)

    def line(self, event: Event) -> str:
        """The plain line about an event; empty when it is not worth one."""
        if event.kind == "retried":
            return f"{event.job.label}: {event.detail}; another worker takes it over"
        if event.kind != "finished" or event.result is None:
            return ""
        result = event.result
        words = f"[{len(self.ended)}/{len(self.jobs)}] {event.job.label}: {event.job.told(result)}"
        detail = f", {result['status_detail']}" if result["status_detail"] else ""
        return f"{words} in {clock(result['wall_seconds'])}{detail}"

    def _under_way(self) -> float:
        return sum(e.job.size * e.step / e.steps for e in list(self.running.values()))


def _went_wrong(event: Event) -> bool:
    return event.result is not None and event.result["status"] in ("diverged", "failed")


def clock(seconds: float) -> str:
    """``1:05``, ``2:00:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
