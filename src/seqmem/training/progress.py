"""Watching a study: a live display in a terminal, one line per finished experiment elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqmem.training.events import Event
from seqmem.training.experiment import Experiment


class StudyProgress:
    """``with StudyProgress() as progress: run_study(..., progress=progress)``.

    On a terminal: how much is done, how long it will take, and a line per running experiment. Elsewhere (a file, a
    pipe) a plain line for every experiment that ends. Nothing is left of the live display but a line.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.state = StudyState()
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
            steps = event.experiment.budget.steps
            running.add_row(
                Text("  " + label(event.experiment)),
                ProgressBar(total=steps, completed=event.step, width=12),
                Text(f"{event.step}/{steps}"),
                Text("" if event.loss is None else f"loss {event.loss:.3f}"),
                Text("" if event.validation is None else f"validation {event.validation:.3f}"),
            )
        return Group(overall, running)


class StudyState:
    """What the events so far add up to."""

    def __init__(self) -> None:
        self.experiments: dict[str, Experiment] = {}
        self.ended: dict[str, str] = {}  # experiment -> status
        self.reused: set[str] = set()
        self.running: dict[str, Event] = {}
        self.start = time.monotonic()

    def update(self, event: Event) -> None:
        """Take in one event."""
        name = event.experiment.hash
        self.experiments[name] = event.experiment
        if event.kind in ("started", "step"):
            self.running[name] = event
        elif event.kind != "queued":
            self.running.pop(name, None)
        if event.result is not None:
            self.ended[name] = event.result["status"]
        if event.kind == "reused":
            self.reused.add(name)

    def fraction(self) -> float:
        """The part of all training steps, weighted by tokens, that is done; from 0 to 1."""
        total = sum(map(_work, self.experiments.values()))
        done = sum(_work(self.experiments[name]) for name in self.ended) + self._under_way()
        return done / total if total else 0.0

    def seconds_left(self) -> float | None:
        """At the pace so far; None before there is one."""
        mine = [name for name in self.experiments if name not in self.reused]
        total = sum(_work(self.experiments[name]) for name in mine)
        done = sum(_work(self.experiments[name]) for name in mine if name in self.ended) + self._under_way()
        seconds = time.monotonic() - self.start
        return seconds * (total - done) / done if done > 0.02 * total else None

    def counts(self) -> str:
        """One line: how many are done, how they ended, how long it took and will take."""
        parts = [f"{len(self.ended)}/{len(self.experiments)} experiments"]
        if self.reused:
            parts.append(f"{len(self.reused)} from the store")
        for status in ("solved", "diverged", "failed"):
            if count := sum(ended == status for ended in self.ended.values()):
                parts.append(f"{count} {status}")
        parts.append(_clock(time.monotonic() - self.start))
        left = self.seconds_left()
        if left:
            parts.append(f"about {_clock(left)} left")
        return " · ".join(parts)

    def line(self, event: Event) -> str:
        """The plain line about an event; empty when it is not worth one."""
        if event.kind == "retried":
            return f"{label(event.experiment)}: {event.detail}; another worker goes on from its checkpoint"
        if event.kind != "finished" or event.result is None:
            return ""
        result = event.result
        words = [f"[{len(self.ended)}/{len(self.experiments)}] {label(event.experiment)}: {result['status']}"]
        if result["metrics"] is not None:
            words.append(
                f"validation {result['metrics']['name'].replace('_', ' ')} {result['metrics']['validation']:.3f}"
            )
        words.append(f"{result['steps']} steps in {_clock(result['wall_seconds'])}")
        if result["status_detail"]:
            words.append(result["status_detail"])
        return ", ".join(words)

    def _under_way(self) -> float:
        return sum(_work(e.experiment) * e.step / e.experiment.budget.steps for e in list(self.running.values()))


def label(experiment: Experiment) -> str:
    """An experiment in a few words."""
    mixer = experiment.mixer.rpartition(":")[2]
    sizes = f"width {experiment.study_width} · rate {experiment.learning_rate:g} · seed {experiment.seed}"
    return f"{mixer} · {experiment.task} · {sizes}"


def _work(experiment: Experiment) -> float:
    length = experiment.task_options.get("length", 64)
    return float(experiment.budget.steps * experiment.budget.batch_size * length)


def _went_wrong(event: Event) -> bool:
    return event.result is not None and event.result["status"] in ("diverged", "failed")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
