"""What the store keeps and the engine runs: anything described exactly enough that its hash names its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypedDict, TypeVar


class Record(TypedDict):
    """The least that a job's result says. ``status`` "failed" means: not stored, run again the next time."""

    status: str
    status_detail: str
    wall_seconds: float


class Reached(NamedTuple):
    """Where a running job is: ``step`` of ``steps``, and a few words about it."""

    step: float
    steps: float
    words: str = ""


class Interrupted(Exception):
    """Raised by a progress callable to stop a job between two steps: what can be resumed is written first."""


class OutOfMemory(Exception):
    """There was not enough memory to go on with a job; in a fresh process, or elsewhere, there may be."""


OnReached = Callable[[Reached], None]
R = TypeVar("R", bound=Record)


class Job(Protocol[R]):
    """A frozen description, plain data in and out, with what it takes to run it. :class:`~seqmem.training.experiment.
    Experiment` (a training) is one, a part of a paper's check is another; a worker process finds the class by the
    name of its module."""

    @property
    def hash(self) -> str:
        """The name of its folder in the store: equal where the description is equal."""
        ...

    @property
    def label(self) -> str:
        """The job in a few words, for a progress display."""
        ...

    @property
    def size(self) -> float:
        """How much work it is, against the others that are run with it."""
        ...

    @property
    def study_width(self) -> int:
        """The width of its networks, which says how many threads pay (:func:`seqmem.training.engine.threads_of`)."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether a run that is told to stop leaves something to go on from; else it is stopped at once."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The description as JSON values."""
        ...

    @classmethod
    def model_validate(cls, described: Any) -> Self:
        """The job of a description."""
        ...

    def obstacle(self) -> str:
        """Why another process could not run it, and what to do; "" where one can."""
        ...

    def work(self, folder: Path, progress: OnReached, checkpoint_seconds: float) -> R:
        """Run it, with ``folder`` for what is to survive an interruption."""
        ...

    def failed(self, detail: str) -> R:
        """The record of a run that raised or whose process died."""
        ...

    def is_record(self, value: Any) -> bool:
        """Whether a JSON value is a whole record of a finished run."""
        ...

    def told(self, record: R) -> str:
        """What came of it, in one line."""
        ...
