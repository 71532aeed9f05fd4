"""A training up to a step short of its last: what a search looks at before it decides who goes on."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from seqmem.training.experiment import Experiment, digest
from seqmem.training.job import OnReached
from seqmem.training.schema import fits

if TYPE_CHECKING:
    from seqmem.training.loop import Progress


class RungRecord(TypedDict):
    """``value``: the validation score at ``until``, or at the step where the training was solved; None where it
    diverged. ``steps``: that were taken in all. ``ended``: "running" (it can go on), "solved", "done" or "diverged"."""

    experiment: str
    until: int
    steps: int
    value: float | None
    ended: str
    status: str
    status_detail: str
    wall_seconds: float


class Rung(BaseModel):
    """A job: ``experiment`` up to step ``until``, in the experiment's own folder, so that its training goes on from
    there, be it to the next rung or to the end, and to the numbers that it would have had without."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: Experiment
    until: int = Field(gt=0)

    @functools.cached_property
    def hash(self) -> str:
        """16 hexadecimal digits."""
        return digest({"rung": self.until, "experiment": self.experiment.hash})

    @property
    def label(self) -> str:
        """The experiment's, and up to where."""
        return f"{self.experiment.label} · to step {self.until}"

    @property
    def size(self) -> float:
        """Tokens that are read up to there."""
        return self.experiment.size * self.until / self.experiment.budget.steps

    @property
    def study_width(self) -> int:
        """The experiment's."""
        return self.experiment.study_width

    @property
    def resumable(self) -> bool:
        """As a training is."""
        return True

    def obstacle(self) -> str:
        """As of the training."""
        return self.experiment.obstacle()

    def work(self, folder: Path, progress: OnReached, checkpoint_seconds: float) -> RungRecord:
        """Train on in the experiment's folder, which lies where a store of folders has it."""
        from seqmem.training.loop import train_until
        from seqmem.training.store import alone_in, folder_of

        e = self.experiment
        its_own = folder_of(folder.parents[1], e)

        def reached(now: Progress) -> None:
            progress(e.reached(now))

        with alone_in(its_own, e.hash):
            found = train_until(e, its_own, self.until, progress=reached, checkpoint_seconds=checkpoint_seconds)
        return RungRecord(
            experiment=e.hash, until=self.until, steps=found.steps, value=found.value, ended=found.ended,
            status="done", status_detail=found.status_detail, wall_seconds=found.wall_seconds,
        )  # fmt: skip

    def failed(self, detail: str) -> RungRecord:
        """The record of a training that raised, or whose process died."""
        return RungRecord(
            experiment=self.experiment.hash, until=self.until, steps=0, value=None, ended="failed", status="failed",
            status_detail=detail, wall_seconds=0.0,
        )  # fmt: skip

    def is_record(self, value: Any) -> bool:
        """Whether a JSON value has all that a record of this rung has, each of its type."""
        mine = self.experiment.hash, self.until
        return fits(value, RungRecord) and (value["experiment"], value["until"]) == mine

    def told(self, record: RungRecord) -> str:
        """The validation score there."""
        value = "diverged" if record["value"] is None else f"validation {record['value']:.3f}"
        return f"{value}, {record['steps']} steps"
