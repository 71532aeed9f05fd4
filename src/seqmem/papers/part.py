"""A part of a paper's check: what the store keeps and a worker runs. One part, one seed, one budget, one model."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict

import seqmem
from seqmem.errors import InputError
from seqmem.papers.paper import Paper
from seqmem.training.experiment import digest
from seqmem.training.job import OnReached, Reached
from seqmem.training.schema import fits

#: Part of every hash: raised when the same description would be measured or recorded differently.
FORMAT = 1


class Table(TypedDict):
    """A table for the page; cells are text or numbers."""

    columns: list[str]
    rows: list[list[Any]]


class Optional(TypedDict, total=False):
    """What the first records did not have."""

    tables: dict[str, Table]  # by title


class PartRecord(Optional):
    """What one part measured for one seed. ``status``: "done" or "failed" (then ``status_detail`` says why, and
    ``bad_input`` whether the user can help it). ``series``: label -> {"x": [...], "y": [...]}."""

    part: str  # hash of the description
    figures: dict[str, float | None]  # None is NaN
    series: dict[str, dict[str, list[float | None]]]
    notes: list[str]
    status: str
    status_detail: str
    bad_input: bool
    wall_seconds: float
    environment: dict[str, Any]


class Part(BaseModel):
    """The description. The hash changes with any field but ``module`` and ``model`` (``identity`` stands for the
    model), and with the version of seqmem."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slug: str
    module: str  # of the paper
    part: str
    seed: int
    budget: str
    settings: dict[str, Any]
    model: str | None = None
    identity: str | None = None
    source: str

    @property
    def hash(self) -> str:
        """16 hexadecimal digits."""
        described = self.model_dump(mode="json", exclude={"module", "model"})
        return digest({"format": FORMAT, "seqmem": seqmem.__version__, **described})

    @property
    def label(self) -> str:
        """Paper, part where there are several, seed."""
        return self.slug + ("" if self.part == "all" else f" · {self.part}") + f" · seed {self.seed}"

    @property
    def size(self) -> float:
        """Parts count alike: how long one takes is not known before."""
        return 1.0

    @property
    def study_width(self) -> int:
        """Small networks: a thread each."""
        return 1

    @property
    def resumable(self) -> bool:
        """A part is run whole."""
        return False

    def obstacle(self) -> str:
        """Modules of papers can be imported everywhere but from the main script."""
        if self.module != "__main__":
            return ""
        return f"paper '{self.slug}' lives in a script, where worker processes cannot import it from; use workers=0"

    def work(self, folder: Path, progress: OnReached, checkpoint_seconds: float) -> PartRecord:
        """Call the module's ``measure``. A bad input found there is a failed record; other errors are raised."""
        import torch

        module = importlib.import_module(self.module)
        start = time.perf_counter()

        def report(fraction: float, text: str = "") -> None:
            progress(Reached(min(max(float(fraction), 0.0), 1.0), 1.0, text))

        state = torch.random.get_rng_state()
        torch.manual_seed(self.seed)  # a draw that forgot its generator is the same every time all the same
        try:
            measured = module.measure(self.part, dict(self.settings), self.seed, self.model, report)
        except InputError as error:
            return self.failed(str(error), bad_input=True)
        finally:
            torch.random.set_rng_state(state)
        figures, series, notes, tables = measured_of(module.PAPER, measured)
        return {**self._record("done", figures, series, notes, time.perf_counter() - start), "tables": tables}

    def failed(self, detail: str, *, bad_input: bool = False) -> PartRecord:
        """The record of a part that raised, or whose process died."""
        return self._record("failed", detail=detail, bad_input=bad_input)

    def _record(
        self,
        status: str,
        figures: dict[str, float | None] | None = None,
        series: dict[str, dict[str, list[float | None]]] | None = None,
        notes: list[str] | None = None,
        seconds: float = 0.0,
        detail: str = "",
        bad_input: bool = False,
    ) -> PartRecord:
        return {
            "part": self.hash,
            "figures": figures or {},
            "series": series or {},
            "notes": notes or [],
            "status": status,
            "status_detail": detail,
            "bad_input": bad_input,
            "wall_seconds": seconds,
            "environment": environment(),
        }

    def is_record(self, value: Any) -> bool:
        """Whether a JSON value has all that a record has."""
        return fits(value, PartRecord) and value["part"] == self.hash

    def told(self, record: PartRecord) -> str:
        """How it ended, and its first figures."""
        figures = [f"{name} {value:.4g}" for name, value in record["figures"].items() if value is not None]
        return ", ".join([record["status"], *figures[:4]])


def measured_of(
    paper: Paper, measured: Any
) -> tuple[dict[str, float | None], dict[str, dict[str, list[float | None]]], list[str], dict[str, Table]]:
    """What ``measure`` returned, checked. Raises ValueError for figures that the paper does not announce."""
    if not isinstance(measured, Mapping) or set(measured) - {"figures", "series", "notes", "tables"}:
        raise ValueError(f"{paper.slug}: measure() returns a dict of 'figures', perhaps 'series', 'notes' and 'tables'")
    figures = {name: _number(value) for name, value in measured["figures"].items()}
    if unknown := set(figures) - {figure.name for figure in paper.figures}:
        raise ValueError(f"{paper.slug}: measure() returned {sorted(unknown)}, which PAPER.figures does not list")
    series = {}
    for label, line in measured.get("series", {}).items():
        if "|" in label:
            raise ValueError(f"{paper.slug}: series '{label}' has a '|' in its label")
        xs, ys = ([_number(value) for value in line[axis]] for axis in ("x", "y"))
        if len(xs) != len(ys):
            raise ValueError(f"{paper.slug}: series '{label}' has {len(xs)} x and {len(ys)} y")
        series[label] = {"x": xs, "y": ys}
    return figures, series, [str(note) for note in measured.get("notes", ())], _tables(paper, measured)


def _tables(paper: Paper, measured: Mapping[str, Any]) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for title, table in measured.get("tables", {}).items():
        columns, rows = [str(column) for column in table["columns"]], [list(row) for row in table["rows"]]
        if wrong := [row for row in rows if len(row) != len(columns)]:
            raise ValueError(f"{paper.slug}: table '{title}' has {len(columns)} columns, a row {len(wrong[0])}")
        tables[title] = {"columns": columns, "rows": rows}
    return tables


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def environment() -> dict[str, Any]:
    """What the figures depend on beside the description."""
    import os
    import platform

    from seqmem.training.result import versions

    found = versions()
    return {
        **{name: found[name] for name in ("seqmem", "python", "torch", "transformers")},
        "cpu": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": int(found["threads"]),
    }


def source_of(module: types.ModuleType, uses: tuple[str, ...]) -> str:
    """A digest of the files that define the paper's experiment, what it shares with other papers
    (``seqmem.papers._*``), and what it uses. Raises ValueError for a name in ``uses`` that there is not.

    What those files import in turn is pinned by the version of seqmem alone.
    """
    files = {inspect.getsourcefile(module)}
    for thing in vars(module).values():
        shared = inspect.getmodule(thing)
        if shared is not None and shared.__name__.startswith("seqmem.papers._"):
            files.add(inspect.getsourcefile(shared))
    for name in uses:
        thing = resolve(name)
        home = thing if isinstance(thing, types.ModuleType) else inspect.getmodule(thing)
        files.add(inspect.getsourcefile(home) if home is not None else None)
    texts = sorted(Path(file).read_text("utf-8") for file in files if file)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def resolve(name: str) -> Any:
    """The object of a dotted name such as "seqmem.theory.AssocMemory". Raises ValueError when there is none."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            if error.name and not name.startswith(error.name):  # a dependency is missing, not this name
                raise
            continue
        get: Callable[[Any, str], Any] = getattr
        try:
            for attribute in parts[cut:]:
                found = get(found, attribute)
        except AttributeError:
            break
        return found
    raise ValueError(f"there is no '{name}'")
