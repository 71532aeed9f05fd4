"""Implicit attention: that it is exact in every layer, and whether it shows where a decision comes from."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.interp import attribute, intervene, sites
from seqmem.mixers import MIXERS
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="implicit-attention",
    uses=("seqmem.interp.attention_of", "seqmem.interp.attribute"),
    setup="Every layer of the library that has one, and Mamba, Mamba-2, RWKV and RecurrentGemma of transformers, are "
    "read through their matrices. Then Mamba, Griffin's recurrence and RWKV-4 (two layers) learn to name two marked "
    "tokens among 64; attention times gradient, rolled out, says where the answer comes from, and tokens are taken out "
    "in that order. A pretrained model repeats random tokens: where does it take the next one from?",
    baseline="|attention| alone, without gates, values and gradient; tokens taken out in random order",
    control="the same networks untrained: nothing may stand out",
    figures=(
        Figure("exact", "largest error of the output read through the matrix, over its size, float64"),
        Figure("theirs", "the same for the models of transformers, which compute in float32"),
        Figure("above", "largest weight above the diagonal"),
        Figure("mamba", "Mamba: share of the relevance on the two marked tokens, over chance"),
        Figure("mamba_alone", "Mamba: the same by |attention| alone (baseline)"),
        Figure("griffin", "Griffin: share on the marked tokens, over chance"),
        Figure("rwkv", "RWKV: share on the marked tokens, over chance"),
        Figure("untrained", "untrained: largest share on the marked tokens, over chance (control)"),
        Figure("griffin_deletion", "Griffin: area under the curve of deletion, random minus by relevance"),
        Figure("rwkv_deletion", "RWKV: the same"),
        Figure("source", "pretrained: relevance of the token that is copied, over chance"),
    ),
    rule=Rule(
        holds="exact <= 1e-9 and theirs <= 1e-4 and above == 0 and mamba >= 3 and mamba >= mamba_alone and "
        "griffin >= 3 and rwkv >= 3 and griffin_deletion >= 0.1 and rwkv_deletion >= 0.1 and source >= 3",
        in_part="exact <= 1e-9 and theirs <= 1e-4 and above == 0 and min(mamba, min(griffin, rwkv)) >= 3",
        control="untrained <= 2",
    ),
    limits="The matrices end where the output gate begins; gates and what comes after enter by the gradient, and the "
    "convolution by the size of its taps. Two small tasks; no images.",
    own_model="with attention_of(model, tokens) and attribute(model, tokens, score), on any model of seqmem.interp",
    settings={
        "smoke": {"steps": 2, "rows": 4, "rwkv": 2, PRETRAINED: TINY},
        "laptop": {"steps": 500, "rows": 64, "rwkv": 250, PRETRAINED: "smollm2"},
        "full": {"steps": 2000, "rows": 256, "rwkv": 1000, PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("matrices", "trained", "pretrained"),
    exact=("matrices",),
    takes_model=("pretrained",),
)

LENGTH, FILLER, CLASSES = 64, 16, 4
FIRST_MARK, ASK, ANSWER = FILLER, FILLER + 4, FILLER + 5
VOCABULARY = ANSWER + CLASSES


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """Matrices of many layers, networks trained, or one looked into."""
    if part == "matrices":
        return _matrices(report)
    return _trained(settings, seed, report) if part == "trained" else _pretrained(settings, seed, model)


def _theirs() -> list[Any]:
    import transformers as hf

    torch.manual_seed(0)
    common: dict[str, Any] = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
    gemma: dict[str, Any] = {
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }
    return [
        hf.MambaForCausalLM(hf.MambaConfig(**common, state_size=4)),
        hf.Mamba2ForCausalLM(hf.Mamba2Config(**common, state_size=4, head_dim=16, num_heads=4, n_groups=2)),
        hf.RwkvForCausalLM(hf.RwkvConfig(**common, attention_hidden_size=32)),
        hf.RecurrentGemmaForCausalLM(
            hf.RecurrentGemmaConfig(**common, **gemma, lru_width=32, block_types=["recurrent", "attention"])
        ),
    ]


def _matrices(report: Report) -> dict[str, Any]:
    own, above = [], []
    tokens = torch.randint(40, (2, 24), generator=torch.Generator().manual_seed(0))
    models: list[Any] = []
    for name in MIXERS:
        torch.manual_seed(0)
        lm = SequenceLM(SequenceConfig(vocab_size=40, width=32, layers=[name, name])).double().eval()
        if not any(site.reason for site in sites(lm) if site.name.endswith("attention")):
            models.append(lm)
    for place, lm in enumerate([*models, *_theirs()]):
        report(place / (len(models) + 4), type(lm).__name__)
        error, upper = _error(lm.eval(), tokens)
        own.append(error)
        above.append(upper)
    return {"figures": {"exact": max(own[: len(models)]), "theirs": max(own[len(models) :]), "above": max(above)}}


@torch.no_grad()
def _error(lm: Any, tokens: Tensor) -> tuple[float, float]:
    """(relative error of the logits, largest weight above the diagonal)."""
    upper: list[float] = []

    def through(weights: Tensor) -> Tensor:
        upper.append(float(weights.triu(1).abs().max()))
        return weights

    plain = lm(tokens).logits
    with intervene(lm, {"layers.*.attention": through}):
        read = lm(tokens).logits
    return float((read - plain).norm() / plain.norm()), max(upper)


def marked(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (rows, 65) of filler with one of two marks of a first kind and one of a second at random places, and a
    question at the end; answers (rows,), the pair of marks; places (rows, 2)."""
    tokens = torch.randint(FILLER, (rows, LENGTH + 1), generator=generator)
    places = torch.stack([torch.randperm(LENGTH, generator=generator)[:2] for _ in range(rows)])
    kinds = torch.randint(2, (rows, 2), generator=generator)
    tokens.scatter_(1, places, FIRST_MARK + 2 * torch.arange(2) + kinds)
    tokens[:, -1] = ASK
    return tokens, ANSWER + 2 * kinds[:, 0] + kinds[:, 1], places


def _network(name: str, seed: int) -> Any:
    torch.manual_seed(seed)
    if name != "rwkv":
        layers = [{"mamba": "mamba", "griffin": "rg_lru"}[name]] * 2
        return SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=32, layers=layers)).eval()
    from transformers import RwkvConfig, RwkvForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}
    return RwkvForCausalLM(RwkvConfig(vocab_size=VOCABULARY, **sizes)).eval()


def _answer(answers: Tensor) -> Any:
    return lambda logits: logits[:, -1].gather(1, answers[:, None])[:, 0]


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    figures: dict[str, float] = {}
    series, untrained, notes = {}, [], []
    tokens, answers, where = marked(settings["rows"], torch.Generator().manual_seed(700 + seed))
    for place, name in enumerate(("mamba", "griffin", "rwkv")):
        lm = _network(name, seed)
        untrained.append(_stands_out(attribute(lm, tokens, _answer(answers)), where))
        generator = torch.Generator().manual_seed(seed)

        def loss_of(_: int, lm: Any = lm, generator: torch.Generator = generator) -> Tensor:
            drawn, right, _places = marked(32, generator)
            return F.cross_entropy(lm(drawn, use_cache=False).logits[:, -1], right)

        steps = settings["rwkv" if name == "rwkv" else "steps"]
        lm.train()
        descend(lm, loss_of, steps, 5e-3, functools.partial(_told, report, place, steps))
        lm.eval()
        with torch.no_grad():
            right = float((lm(tokens, use_cache=False).logits[:, -1].argmax(-1) == answers).float().mean())
        notes.append(f"{name}, seed {seed}: {right:.2f} of the answers right")
        relevance = attribute(lm, tokens, _answer(answers))
        figures[name] = _stands_out(relevance, where)
        if name == "mamba":
            figures["mamba_alone"] = _stands_out(attribute(lm, tokens, _answer(answers), gradient=False), where)
        else:
            order = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(seed))
            by, at_random = _deletion(lm, tokens, answers, relevance), _deletion(lm, tokens, answers, order)
            figures[f"{name}_deletion"] = (sum(at_random) - sum(by)) / len(by)
            for label, curve in (("by relevance", by), ("at random", at_random)):
                line = {"x": [i / len(curve) for i in range(len(curve))], "y": curve}
                series[f"probability of the answer against share taken out: {name}, {label}"] = line
    figures["untrained"] = max(untrained)
    return {"figures": figures, "series": series, "notes": notes}


def _told(report: Report, place: int, steps: int, step: int) -> None:
    report((place + step / steps) / 3, "training")


def _stands_out(relevance: Tensor, places: Tensor) -> float:
    """The share of the relevance at ``places``, over the one that two of all earlier tokens would get."""
    before = relevance[:, :-1]
    share = before.gather(1, places).sum(1) / before.sum(1).clamp_min(1e-30)
    return float(share.mean()) * before.shape[1] / places.shape[1]


@torch.no_grad()
def _deletion(lm: Any, tokens: Tensor, answers: Tensor, relevance: Tensor) -> list[float]:
    """The mean probability of the answer while half of the tokens are replaced by filler, the most relevant first."""
    order = relevance[:, :-1].argsort(1, descending=True)
    left, curve = tokens.clone(), []
    for taken in range(LENGTH // 2):
        probabilities = lm(left, use_cache=False).logits[:, -1].softmax(-1)
        curve.append(float(probabilities.gather(1, answers[:, None]).mean()))
        left.scatter_(1, order[:, taken : taken + 1], 0)
    return curve


def _pretrained(settings: dict[str, Any], seed: int, model: str | None) -> dict[str, Any]:
    lm, _ = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(lm.config.vocab_size, generator=generator)[:24] for _ in range(4)])
    tokens = torch.cat([drawn, drawn[:, :12]], 1)  # the last token is drawn[:, 11]; drawn[:, 12] comes next
    relevance = attribute(lm, tokens, _answer(drawn[:, 12]))
    return {"figures": {"source": _stands_out(relevance, torch.full((4, 1), 12))}}
