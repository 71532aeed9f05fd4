"""Where the memory is: one vocabulary for looking inside, for attention and recurrence alike.

Works on :class:`seqmem.models.SequenceLM` and on GPT-2, Llama, Mamba, Mamba-2, RWKV and RecurrentGemma of transformers.
"""

from seqmem.interp.attention import attention_of
from seqmem.interp.attribution import attribute
from seqmem.interp.compositionality import (
    ResidualEntropy,
    precision,
    recall,
    residual_entropy,
    topographic_similarity,
)
from seqmem.interp.document import Piece, loss_by_position, read_in_pieces
from seqmem.interp.heads import ablate_heads
from seqmem.interp.hooks import Trace, intervene, record
from seqmem.interp.importance import HeadImportance, head_importance, single_ablations, without_least
from seqmem.interp.linear_recall import linear_recall
from seqmem.interp.probes import Probe, activations_at, fit_probe, latent_saliency, move, probe_error, steer
from seqmem.interp.removal import remove_heads
from seqmem.interp.retrieval import Needle, RetrievalScore, needle_accuracy, retrieval_scores
from seqmem.interp.scores import PROBES, HeadScore, score_heads
from seqmem.interp.sites import Site, sites
from seqmem.interp.state import patch_state, state_at
from seqmem.interp.state_growth import StateGrowth, retention, state_growth
from seqmem.interp.timescales import (
    Timescale,
    autocorrelation,
    dimensionality,
    fit_timescale,
    network_timescales,
)
from seqmem.interp.waves import wave_share, wave_spectrum, wave_speed
from seqmem.interp.weight_noise import with_weight_noise

__all__ = [
    "PROBES",
    "HeadImportance",
    "HeadScore",
    "Needle",
    "Piece",
    "Probe",
    "ResidualEntropy",
    "RetrievalScore",
    "Site",
    "StateGrowth",
    "Timescale",
    "Trace",
    "ablate_heads",
    "activations_at",
    "attention_of",
    "attribute",
    "autocorrelation",
    "dimensionality",
    "fit_probe",
    "fit_timescale",
    "head_importance",
    "intervene",
    "latent_saliency",
    "linear_recall",
    "loss_by_position",
    "move",
    "needle_accuracy",
    "network_timescales",
    "patch_state",
    "precision",
    "probe_error",
    "read_in_pieces",
    "recall",
    "record",
    "remove_heads",
    "residual_entropy",
    "retention",
    "retrieval_scores",
    "score_heads",
    "single_ablations",
    "sites",
    "state_at",
    "state_growth",
    "steer",
    "topographic_similarity",
    "wave_share",
    "wave_spectrum",
    "wave_speed",
    "with_weight_noise",
    "without_least",
]
