"""Human memory: statistics of recall, models of it, and the same questions put to language models."""

from seqmem.cognition.cmr import cmr_curve, cmr_recall
from seqmem.cognition.free_recall import (
    Lists,
    first_recall,
    lag_crp,
    read_lists,
    serial_position,
    temporal_factor,
)
from seqmem.cognition.lag_profile import LagProfile, cmr_distance, cmr_table, gaussian_distance, lag_profiles
from seqmem.cognition.verbatim import RepeatSurprisal, Vignette, repeat_surprisal

__all__ = [
    "LagProfile",
    "Lists",
    "RepeatSurprisal",
    "Vignette",
    "cmr_curve",
    "cmr_distance",
    "cmr_recall",
    "cmr_table",
    "first_recall",
    "gaussian_distance",
    "lag_crp",
    "lag_profiles",
    "read_lists",
    "repeat_surprisal",
    "serial_position",
    "temporal_factor",
]
