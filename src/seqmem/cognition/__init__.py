"""Human memory: statistics of recall, and models of it."""

from seqmem.cognition.cmr import cmr_curve, cmr_recall
from seqmem.cognition.free_recall import (
    Lists,
    first_recall,
    lag_crp,
    read_lists,
    serial_position,
    temporal_factor,
)

__all__ = [
    "Lists",
    "cmr_curve",
    "cmr_recall",
    "first_recall",
    "lag_crp",
    "read_lists",
    "serial_position",
    "temporal_factor",
]
