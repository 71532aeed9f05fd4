"""Where the memory is: one vocabulary for looking inside, for attention and recurrence alike.

Works on :class:`seqmem.models.SequenceLM` and on GPT-2, Llama, Mamba, Mamba-2, RWKV and RecurrentGemma of transformers.
"""

from seqmem.interp.attention import attention_of
from seqmem.interp.attribution import attribute
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
from seqmem.interp.waves import wave_share, wave_spectrum, wave_speed

__all__ = [
    "PROBES",
    "HeadImportance",
    "HeadScore",
    "Needle",
    "Piece",
    "Probe",
    "RetrievalScore",
    "Site",
    "StateGrowth",
    "Trace",
    "ablate_heads",
    "activations_at",
    "attention_of",
    "attribute",
    "fit_probe",
    "head_importance",
    "intervene",
    "latent_saliency",
    "linear_recall",
    "loss_by_position",
    "move",
    "needle_accuracy",
    "patch_state",
    "probe_error",
    "read_in_pieces",
    "record",
    "remove_heads",
    "retention",
    "retrieval_scores",
    "score_heads",
    "single_ablations",
    "sites",
    "state_at",
    "state_growth",
    "steer",
    "wave_share",
    "wave_spectrum",
    "wave_speed",
    "without_least",
]
