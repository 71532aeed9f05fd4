"""Dual attention: the relational head against its messages written out, and same or different on unseen objects."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.dual_attention import DualAttention
from seqmem.models import SequenceConfig
from seqmem.models.block import Block
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.same_objects import Objects, pool, sample_objects

COUNT, SIZE, POOL, WIDTH, BATCH, RATE = 5, 16, 32, 64, 64, 1e-3
DUAL = {"name": "dual_attention", "sensory_heads": 2, "relational_heads": 2, "symbols": COUNT, "symbols_by": "place"}
#: the layers of each network
ARMS: dict[str, dict[str, Any]] = {
    "dual": DUAL,
    "attention": {"name": "attention", "heads": 4},
    "relational": DUAL | {"sensory_heads": 0, "relational_heads": 4},
}

PAPER = Paper(
    slug="dual-attention",
    uses=("seqmem.mixers.dual_attention.DualAttention", "seqmem.tasks.same_objects"),
    setup="A layer of relational heads is compared with the sum of its messages, one for every pair, in float64, and "
    "its earlier outputs with those before a later input was changed. Networks of two layers (width 64, learned "
    "positions, symbols of positions) read five random vectors of size 16 and say whether the first two are the same: "
    "1000 updates of batch 64 on 500, 2000 and 8000 examples of 32 objects, tested on 32 others.",
    baseline="four heads of attention instead of two and two, of nearly the same number of weights; and four "
    "relational heads (relational cross-attention) on 500 examples",
    control="training labels that are dealt out at random: on unseen objects nothing must be left of the accuracy",
    figures=(
        Figure("messages", "largest difference of the layer and the sum of its messages"),
        Figure("earlier", "largest change of outputs before the input that was changed"),
        Figure("dual", "500 examples, two heads of each kind", "accuracy"),
        Figure("attention", "the same, four heads of attention (baseline)", "accuracy"),
        Figure("relational", "the same, four relational heads", "accuracy"),
        Figure("dual_2000", "2000 examples, two heads of each kind", "accuracy"),
        Figure("attention_2000", "the same, attention", "accuracy"),
        Figure("dual_8000", "8000 examples, two heads of each kind", "accuracy"),
        Figure("attention_8000", "the same, attention", "accuracy"),
        Figure("weights", "weights of the network with both kinds over those of attention"),
        Figure("random", "500 examples with random labels, two heads of each kind (control)", "accuracy"),
    ),
    rule=Rule(
        holds="messages < 1e-5 and earlier == 0 and dual >= attention + 0.08",
        in_part="messages < 1e-5 and earlier == 0 and dual > attention",
        control="abs(mean(random) - 0.5) <= 0.1",
    ),
    limits="One relation, identity, on random vectors, instead of the paper's games, mathematics, images and language. "
    "With 2000 examples and more no order is claimed; the figures are there to be seen.",
    own_model="seqmem compare --mixers dual_attention,attention,my_layer:MyLayer",
    parts=("messages", "few", "more", "many"),
    settings={
        "smoke": {"updates": 2, "test": 20},
        "laptop": {"updates": 1000, "test": 4000},
        "full": {"updates": 10_000, "test": 20_000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 10},
)


class Network(nn.Module):
    """(batch, COUNT, SIZE) -> (batch, 2): two layers on the objects, each with its position; the mean is read out."""

    def __init__(self, layer: dict[str, Any]) -> None:
        super().__init__()
        config = SequenceConfig(width=WIDTH, layers=[layer] * 2, mlp_width=WIDTH)
        self.objects = nn.Linear(SIZE, WIDTH)
        self.positions = nn.Parameter(0.1 * torch.randn(COUNT, WIDTH))
        self.layers = nn.ModuleList(Block(config, n) for n in range(2))
        self.head = nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 2))

    def forward(self, objects: Tensor) -> Tensor:
        x = self.objects(objects) + self.positions
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(x.mean(1))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The layer, or the networks trained on so many examples."""
    if part == "messages":
        return {"figures": _messages(seed)}
    examples = {"few": 500, "more": 2000, "many": 8000}[part]
    figures: dict[str, float] = {}
    for n, arm in enumerate(ARMS if part == "few" else ("dual", "attention")):
        report(n / 4, f"{examples} examples, {arm}")
        figures[arm if part == "few" else f"{arm}_{examples}"] = _unseen(ARMS[arm], examples, settings, seed)
    if part == "few":
        report(3 / 4, "random labels")
        figures["random"] = _unseen(DUAL, examples, settings, seed, random=True)
        counts = [sum(p.numel() for p in Network(ARMS[arm]).parameters()) for arm in ("dual", "attention")]
        figures["weights"] = counts[0] / counts[1]
    return {"figures": figures}


def _unseen(
    layer: dict[str, Any], examples: int, settings: dict[str, Any], seed: int, *, random: bool = False
) -> float:
    """The accuracy on objects that no training example has."""
    generator = torch.Generator().manual_seed(seed)
    train = sample_objects(examples, pool(POOL, SIZE, generator), generator, count=COUNT)
    if random:
        train = train._replace(same=torch.randint(2, train.same.shape, generator=generator))
    test = sample_objects(settings["test"], pool(POOL, SIZE, generator), generator, count=COUNT)
    torch.manual_seed(seed)
    network = Network(layer)

    def loss_of(_: int) -> Tensor:
        rows = torch.randint(examples, (BATCH,), generator=generator)
        return F.cross_entropy(network(train.objects[rows]), train.same[rows])

    descend(network, loss_of, settings["updates"], RATE)
    return _accuracy(network, test)


@torch.no_grad()
def _accuracy(network: nn.Module, test: Objects) -> float:
    return float((network(test.objects).argmax(-1) == test.same).float().mean())


@torch.no_grad()
def _messages(seed: int) -> dict[str, float]:
    """A layer of relational heads against sum_j a_tj (W_r r_tj + W_s s_j), with every message written out."""
    torch.manual_seed(seed)
    layer = DualAttention(16, sensory_heads=0, relational_heads=4, relations=3, symbols=8, symbols_by="place").double()
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    y, _ = layer(x)
    query, key = (part(x).unflatten(-1, (3, 4)) for part in (layer.relation_query, layer.relation_key))
    relation = torch.einsum("btld,bjld->btjl", query, key) / 2  # (batch, t, j, relation)
    symbol = layer.from_symbols(layer.library).unflatten(-1, (4, 4))  # (j, head, size)
    message = torch.einsum("btjl,hld->bhtjd", relation, layer.from_relations) + symbol.movedim(1, 0)[:, None]
    written = torch.einsum("bhtj,bhtjd->bthd", _weights(layer, x), message)
    changed = x.clone()
    changed[:, 5:] += 1
    return {
        "messages": float((layer.out(written.flatten(2)) - y).abs().max()),
        "earlier": float((layer(changed)[0] - y)[:, :5].abs().max()),
    }


def _weights(layer: DualAttention, x: Tensor) -> Tensor:
    """Causal softmax of scaled inner products with queries and keys turned by their positions, written in complex
    numbers: (batch, head, t, j)."""
    half = layer.head // 2
    speed = layer.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    turn = torch.polar(torch.ones(1, 1, dtype=torch.float64), torch.arange(x.shape[1])[:, None] * speed)
    query, key = (
        torch.complex(*part.unflatten(-1, (layer.heads, 2, half)).unbind(-2)) * turn[:, None]
        for part in layer.qk(x).chunk(2, -1)
    )
    score = torch.einsum("bthd,bjhd->bhtj", query, key.conj()).real * layer.head**-0.5
    later = torch.ones(score.shape[-2:], dtype=torch.bool).triu(1)
    return score.masked_fill(later, -torch.inf).softmax(-1)
