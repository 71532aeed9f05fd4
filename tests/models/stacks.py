"""The stacks of layers that the tests of this folder are run over: toys here, and every mixer of the library."""

from seqmem.mixers import MIXERS
from seqmem.models import SequenceConfig, SequenceLM, build

ATTENTION, AVERAGE, BUFFERED = (f"tests.models.toy:{name}" for name in ("Attention", "Average", "Buffered"))

STACKS = {
    "toy constant": [AVERAGE, AVERAGE],
    "toy linear": [ATTENTION, ATTENTION],
    "toy hybrid": [AVERAGE, ATTENTION, BUFFERED],
    **{name: [name, name] for name in MIXERS},
    "hybrid": ["rg_lru", "rg_lru", "local_attention"],
    "hybrid linear": ["gated_delta_net", "attention"],
}


def small(layers, seed=0, **options) -> SequenceLM:
    """An untrained model that does not merely repeat its last token: large logits, and a head of its own."""
    options = {"initializer_range": 0.5, "tie_embeddings": False, **options}
    config = SequenceConfig(vocab_size=37, width=32, layers=layers, **options)
    return build(config, seed).eval()
