"""Learning without forgetting: regularisers, freezing, and measures of what was forgotten."""

from seqmem.continual.ewc import EWC, L2Anchor
from seqmem.continual.fisher import KINDS, fisher_diagonal, fisher_overlap
from seqmem.continual.freezing import frozen_bottom
from seqmem.continual.measures import average_accuracy, backward_transfer, forgetting, forward_transfer, spurious_share

__all__ = [
    "EWC",
    "KINDS",
    "L2Anchor",
    "average_accuracy",
    "backward_transfer",
    "fisher_diagonal",
    "fisher_overlap",
    "forgetting",
    "forward_transfer",
    "frozen_bottom",
    "spurious_share",
]
