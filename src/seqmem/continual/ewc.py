"""Elastic weight consolidation: weights that old tasks depend on are held by springs.

L(theta) = L_new(theta) + sum_tasks strength / 2 sum_i F_i (theta_i - theta*_i)^2

Overcoming catastrophic forgetting in neural networks (2017), arXiv 1612.00796. The online form, one anchor and a
running Fisher: Progress & Compress (2018), arXiv 1805.06370.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqmem.continual.fisher import fisher_diagonal
from seqmem.errors import InputError


class EWC:
    """The springs of one model.

    strength: lambda. kind: of the Fisher information, see :func:`seqmem.continual.fisher_diagonal`. online: one anchor,
    F <- decay F + F_new, instead of one spring per task. learning_rate: of the gradient descent that will follow. A
    spring of stiffness k makes plain descent diverge when learning_rate * k > 2; with it given, the stiffness of all
    springs on a weight together is capped at 1 / learning_rate, where one step leads exactly back. Without it nothing
    is capped, and :meth:`largest_stable_rate` says what the rate may be.

    Example::

        ewc = EWC(model, strength=100.0, learning_rate=0.05)
        for task in tasks:
            for x, y in task:
                (F.cross_entropy(model(x), y) + ewc.penalty()).backward()
                ...
            ewc.after_task(task.inputs, task.targets)
    """

    def __init__(
        self,
        model: nn.Module,
        strength: float,
        *,
        kind: str = "exact",
        online: bool = False,
        decay: float = 1.0,
        learning_rate: float | None = None,
    ) -> None:
        if not strength >= 0:
            raise InputError(f"EWC: strength is {strength!r}, expected 0 or more")
        if learning_rate is not None and not learning_rate > 0:
            raise InputError(f"EWC: learning_rate is {learning_rate!r}, expected a number above 0")
        self.model, self.strength, self.kind, self.online, self.decay = model, strength, kind, online, decay
        self.learning_rate = learning_rate
        self.tasks = 0
        # sum_tasks F (theta - theta*)^2 = F theta^2 - 2 (F theta*) theta + const, whatever the number of tasks
        self._stiffness: dict[str, Tensor] = {}  # sum F, or its running value
        self._anchor: dict[str, Tensor] = {}  # sum F theta* / sum F: where all springs together pull

    def after_task(
        self,
        inputs: Tensor,
        targets: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        vectorise: bool = True,
    ) -> None:
        """Remember the task just learned. inputs, targets, generator, vectorise: as in ``fisher_diagonal``."""
        options = {"kind": self.kind, "generator": generator, "vectorise": vectorise}
        self.add(fisher_diagonal(self.model, inputs, targets, **options))  # type: ignore[arg-type]

    def add(self, fisher: Mapping[str, Tensor]) -> None:
        """Hold the present weights with a given importance for each."""
        weights = {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}
        if fisher.keys() != weights.keys():
            raise InputError("EWC: the Fisher information belongs to other parameters than the model's trainable ones")
        for name, new in fisher.items():
            if self.online or name not in self._stiffness:
                old = self.decay * self._stiffness[name] if name in self._stiffness else torch.zeros_like(new)
                self._stiffness[name], self._anchor[name] = old + new, weights[name]
            else:
                both = self._stiffness[name] + new
                share = torch.where(both > 0, new / both, 0)
                self._anchor[name] = torch.lerp(self._anchor[name], weights[name], share)
                self._stiffness[name] = both
        self.tasks += 1

    def penalty(self) -> Tensor:
        """strength / 2 sum F (theta - theta*)^2 up to a constant; a scalar, 0 before the first task."""
        parameters = dict(self.model.named_parameters())
        terms = []
        for name, fisher in self._stiffness.items():
            stiffness = self.strength * fisher
            if self.learning_rate is not None:
                stiffness = stiffness.clamp(max=1 / self.learning_rate)
            terms.append((stiffness * (parameters[name] - self._anchor[name]).square()).sum())
        if not terms:
            return next(self.model.parameters()).new_zeros(())
        return torch.stack(terms).sum() / 2

    def largest_stable_rate(self) -> float:
        """2 / (strength * largest F): plain gradient descent on the springs alone diverges above it. inf before the
        first task."""
        largest = max((float(x.max()) for x in self._stiffness.values()), default=0.0) * self.strength
        return 2 / largest if largest > 0 else float("inf")


class L2Anchor(EWC):
    """The same spring on every weight: what EWC is compared with."""

    def after_task(self, *_: object, **__: object) -> None:
        """Remember the present weights."""
        self.add({name: torch.ones_like(p) for name, p in self.model.named_parameters() if p.requires_grad})
