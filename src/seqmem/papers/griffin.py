"""Griffin and Hawk beside a transformer of as many weights: scan against step, text of the training's length and eight
times longer, and what is kept for decoding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers.rg_lru import RGLRU
from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceConfig, build, griffin_config, hawk_config, parameter_count
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.bytes import Bytes

PAPER = Paper(
    slug="griffin",
    uses=("seqmem.mixers.rg_lru.RGLRU", "seqmem.models.griffin_config", "seqmem.models.hawk_config"),
    setup="A layer with RG-LRU reads 512 positions by scan and step by step in float32. Then three byte models of six "
    "residual blocks are trained on windows of 256 bytes of a novel for the same steps: Griffin (attention to the last "
    "128), Hawk, and the same network with attention to everything. Unseen text of 2,048 bytes is read as a whole, "
    "and in pieces of 256: the loss on bytes beyond position 1,024 is compared with the loss on the same bytes when "
    "they stand at positions 128 to 256.",
    baseline="a transformer of the same blocks, with rotary positions, keys and values shared by the heads, and as "
    "many weights (by the width of its MLP)",
    control="the transformer reads the whole with its memory emptied every 256 positions: there must be no rise",
    figures=(
        Figure("forms", "largest difference of scan and step, float32"),
        Figure("loss", "loss at positions 0 to 256, Griffin", "nats per byte"),
        Figure("loss_hawk", "the same, Hawk", "nats per byte"),
        Figure("loss_transformer", "the same, transformer", "nats per byte"),
        Figure("rise", "loss on bytes beyond position 1,024 less that on them at 128 to 256, Griffin", "nats per byte"),
        Figure("rise_hawk", "the same, Hawk", "nats per byte"),
        Figure("rise_transformer", "the same, transformer", "nats per byte"),
        Figure("rise_reset", "the same, transformer, emptied every 256 positions (control)", "nats per byte"),
        Figure("state_growth", "bytes of the state after 2,048 positions over those after 256, Griffin"),
        Figure("state_growth_hawk", "the same, Hawk"),
        Figure("state_growth_transformer", "the same, transformer"),
        Figure("weights", "weights of Griffin over those of the transformer"),
    ),
    rule=Rule(
        holds="worst(forms) < 1e-5 and loss <= loss_transformer + 0.03 and rise <= 0.05 and rise_transformer > 0.2 "
        "and state_growth == 1",
        in_part="worst(forms) < 1e-5 and rise <= 0.05 and state_growth == 1",
        control="abs(mean(rise_reset)) <= 0.01",
    ),
    limits="A fifth of a million weights and minutes of training: what a model of this size reads of a long text is "
    "mostly its last bytes. The paper's parity with Llama-2 and its lead on Mamba are about billions of weights.",
    own_model="seqmem compare --mixers rg_lru,local_attention,attention,my_layer:MyLayer",
    parts=("forms", "griffin", "hawk", "transformer"),
    settings={
        "smoke": {"width": 16, "depth": 3, "steps": 2, "length": 32, "batch": 2, "long": 128, "rows": 1},
        "laptop": {"width": 64, "depth": 6, "steps": 200, "length": 256, "batch": 4, "long": 2048, "rows": 8},
        "full": {"width": 256, "depth": 12, "steps": 10_000, "length": 256, "batch": 64, "long": 2048, "rows": 100},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

RATE = 4e-3
SUFFIX = {"griffin": "", "hawk": "_hawk", "transformer": "_transformer"}


def transformer_config(like: SequenceConfig) -> SequenceConfig:
    """Attention in place of every mixer of a Griffin, and an MLP that makes up for the weights."""
    mixers = [like.mixer(layer) for layer in range(len(like.layers))]
    local = next(options for name, options in mixers if name == "local_attention")
    attention = {"name": "attention", **{key: value for key, value in local.items() if key != "window"}}

    def config(mlp_width: int) -> SequenceConfig:
        return SequenceConfig(
            like.vocab_size,
            like.width,
            layers=[attention] * len(like.layers),
            mlp_width=mlp_width,
            mlp=like.mlp,
            mlp_activation=like.mlp_activation,
            embedding_scale=like.embedding_scale,
        )

    per_unit = parameter_count(config(2)) - parameter_count(config(1))
    return config(1 + round((parameter_count(like) - parameter_count(config(1))) / per_unit))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The two forms, or one trained network."""
    if part == "forms":
        return {"figures": {"forms": _forms(seed)}}
    size = (256, settings["width"], settings["depth"])
    like = griffin_config(*size, window=settings["length"] // 2)
    config = {"griffin": like, "hawk": hawk_config(*size), "transformer": transformer_config(like)}[part]
    lm = build(config, seed)
    text, generator = Bytes(), torch.Generator().manual_seed(seed)

    def loss_of(_: int) -> Tensor:
        drawn = text.sample(settings["batch"], settings["length"], generator)
        return F.cross_entropy(lm.run(drawn.inputs)[0].flatten(0, 1), drawn.targets.flatten())

    descend(lm, loss_of, settings["steps"], RATE, lambda step: report(0.9 * step / settings["steps"], part))
    lm.eval()
    length, long = settings["length"], settings["long"]
    drawn = text.sample(settings["rows"], long, torch.Generator().manual_seed(10_000 + seed), split="test")

    @torch.no_grad()
    def losses(inputs: Tensor, targets: Tensor, reset: Tensor | None = None) -> Tensor:  # (row, position)
        logits = lm.run(inputs, reset=reset)[0]
        return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")

    @torch.no_grad()
    def kept(time: int) -> int:
        return state_bytes(lm.run(drawn.inputs[:, :time])[1])

    def late(loss: Tensor) -> float:
        """The mean over bytes beyond the middle of the text, in each piece those of its second half."""
        return float(loss.unflatten(1, (-1, length))[:, long // length // 2 :, length // 2 :].mean())

    loss = losses(drawn.inputs, drawn.targets)
    pieces = [part.unflatten(1, (-1, length)).flatten(0, 1) for part in (drawn.inputs, drawn.targets)]
    early = late(losses(*pieces).view_as(loss))
    suffix = SUFFIX[part]
    figures = {
        f"loss{suffix}": float(loss[:, :length].mean()),
        f"rise{suffix}": late(loss) - early,
        f"state_growth{suffix}": kept(long) / kept(length),
    }
    if part == "griffin":
        figures["weights"] = parameter_count(config) / parameter_count(transformer_config(config))
    if part == "transformer":
        reset = (torch.arange(long) % length == 0).expand_as(drawn.inputs)
        figures["rise_reset"] = late(losses(drawn.inputs, drawn.targets, reset)) - early
    bins = loss.mean(0).unflatten(0, (-1, length // 4)).mean(1)
    line = {"x": [(n + 0.5) * length / 4 for n in range(len(bins))], "y": bins.tolist()}
    return {"figures": figures, "series": {f"loss against position: {part}": line}}


@torch.no_grad()
def _forms(seed: int) -> float:
    torch.manual_seed(seed)
    layer, x = RGLRU(64), torch.randn(1, 512, 64)
    return float((layer(x, form="parallel")[0] - layer(x, form="recurrent")[0]).abs().max())
