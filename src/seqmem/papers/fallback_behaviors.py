"""Fallback behaviours: language models of several sizes and ages, and a pretrained one, are asked for more members of a
category than there are, and every item that they give is classified."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.decoding import classify_items, follows_shift_order
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import continued
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="fallback-behaviors",
    uses=("seqmem.decoding.classify_items", "seqmem.decoding.follows_shift_order"),
    setup="300 categories have 3 to 10 members, each of two syllables. Attention models of three widths are trained on "
    "lists of a category's members in random order. At four ages each is asked for 15 items of every category, the end "
    "of the list being forbidden; items are correct, repeated, nearly repeated or invented. A pretrained model "
    "continues numbered lists of ten small categories (planets, days, oceans) up to 15 items.",
    baseline="greedy decoding",
    control="the same lists judged by the members of other categories: hardly any item may count as correct",
    figures=(
        Figure("repeats_small", "repeated items, smallest and youngest model, greedy", "share"),
        Figure("repeats_large", "the same, largest and oldest model", "share"),
        Figure("invents_small", "invented items, smallest and youngest model, greedy", "share"),
        Figure("invents_large", "the same, largest and oldest model", "share"),
        Figure("repeats_trend", "rank correlation of repetition with size and age", ""),
        Figure("invents_trend", "rank correlation of invention with size and age", ""),
        Figure("first_third", "repeated items among the first five, largest and oldest model", "share"),
        Figure("last_third", "the same among the last five", "share"),
        Figure("order", "lists in which invention comes before repetition, where both occur", "share"),
        Figure("repeats_cut", "greedy minus temperature 1, repeated items, largest and oldest model", "share"),
        Figure("invents_gain", "temperature 1 minus greedy, invented items, largest and oldest model", "share"),
        Figure("known", "correct answers per member there is, largest and oldest model", "share"),
        Figure("known_null", "the same, judged by another category's members (control)", "share"),
        Figure("pre_first_third", "pretrained: repeated items among the first five, greedy", "share"),
        Figure("pre_last_third", "pretrained: the same among the last five", "share"),
        Figure("pre_repeats_cut", "pretrained: greedy minus temperature 1, repeated items", "share"),
        Figure("pre_invents_gain", "pretrained: temperature 1 minus greedy, invented items", "share"),
        Figure("pre_known", "pretrained: correct answers per member there is (none: it cannot list)", "share"),
        Figure("pre_known_null", "pretrained: the same, judged by another category's members (control)", "share"),
    ),
    rule=Rule(
        holds="repeats_trend <= -0.6 and invents_trend >= 0.6 and last_third > first_third and repeats_cut >= 0.1 "
        "and invents_gain >= 0.1 and pre_last_third > pre_first_third and pre_repeats_cut >= 0.1 "
        "and pre_invents_gain >= 0.1 and pre_known > 0.3",
        in_part="last_third > first_third and repeats_cut >= 0.1 and invents_gain >= 0.1 "
        "and pre_last_third > pre_first_third and pre_known > 0.3",
        control="known_null < 0.1 and known > 0.5 and pre_known_null < 0.1",
    ),
    limits="Models of up to a few hundred thousand weights on a closed world of 300 categories. There a list never "
    "holds an item twice, so that a model trained long enough learns not to repeat; the paper's models have 70 million "
    "to 13 billion weights and were trained on real text.",
    own_model="classify_items(items, gold) on lists of your own",
    settings={
        "smoke": {"categories": 6, "widths": [8, 16], "ages": [2, 4], "ask": 4, PRETRAINED: TINY, "tokens": 8},
        "laptop": {
            "categories": 300, "widths": [32, 64, 128], "ages": [75, 150, 300, 600], "ask": 100, PRETRAINED: "smollm2",
            "tokens": 120,
        },
        "full": {
            "categories": 300, "widths": [32, 64, 128, 256], "ages": [100, 300, 1000, 3000], "ask": 300,
            PRETRAINED: "smollm2", "tokens": 150,
        },
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)  # fmt: skip

SYLLABLES, ITEMS, LONGEST = 60, 15, 10
END = 2 * SYLLABLES  # then the categories
OURS = {
    "planets of the solar system": ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"),
    "days of the week": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "seasons of the year": ("Spring", "Summer", "Autumn", "Winter", "Fall"),
    "oceans of the world": ("Pacific", "Atlantic", "Indian", "Arctic", "Southern", "Antarctic"),
    "continents": ("Africa", "Antarctica", "Asia", "Europe", "Australia", "North America", "South America"),
    "Great Lakes": ("Superior", "Michigan", "Huron", "Erie", "Ontario"),
    "noble gases": ("Helium", "Neon", "Argon", "Krypton", "Xenon", "Radon"),
    "chess pieces": ("King", "Queen", "Rook", "Bishop", "Knight", "Pawn"),
    "card suits": ("Hearts", "Diamonds", "Clubs", "Spades"),
    "cardinal directions": ("North", "East", "South", "West"),
}
FRUIT = (
    *("Apple", "Pear", "Plum", "Cherry", "Peach", "Grape", "Lemon", "Orange"),
    *("Banana", "Mango", "Fig", "Kiwi", "Melon", "Apricot", "Papaya"),
)
World = list[list[tuple[int, int]]]


def _world(categories: int, generator: torch.Generator) -> World:
    """The members of every category: pairs of syllables, all different."""
    pairs = torch.randperm(SYLLABLES**2, generator=generator).tolist()
    sizes = torch.randint(3, LONGEST + 1, (categories,), generator=generator).tolist()
    return [[(p // SYLLABLES, SYLLABLES + p % SYLLABLES) for p in (pairs.pop() for _ in range(n))] for n in sizes]


def _lists(world: World, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """(lists, 2 + 2 * LONGEST): a category, all its members in random order, the end; filled with -100."""
    rows = torch.full((len(chosen), 2 + 2 * LONGEST), -100)
    for row, category in zip(rows, chosen.tolist(), strict=True):
        members = world[category]
        order = torch.randperm(len(members), generator=generator).tolist()
        said = [END + 1 + category, *(s for i in order for s in members[i]), END]
        row[: len(said)] = torch.tensor(said)
    return rows


@torch.no_grad()
def _asked(model: SequenceLM, categories: Tensor, temperature: float, generator: torch.Generator) -> list[list[str]]:
    """ITEMS items of every category, as words; the first syllable is always one of the first kind, so that items are
    well formed."""
    logits, states = model.run(END + 1 + categories[:, None])
    said = []
    for step in range(2 * ITEMS):
        kind = slice(0, SYLLABLES) if step % 2 == 0 else slice(SYLLABLES, 2 * SYLLABLES)
        scores = logits[:, -1, kind]
        if temperature == 0:
            token = scores.argmax(-1, keepdim=True)
        else:
            token = torch.multinomial((scores / temperature).softmax(-1), 1, generator=generator)
        said.append(token + kind.start)
        logits, states = model.run(said[-1], states)
    tokens = torch.cat(said, 1).unflatten(1, (ITEMS, 2))
    return [[_word(*item) for item in row] for row in tokens.tolist()]


def _word(first: int, second: int) -> str:
    return f"{first:02d}-{second - SYLLABLES:02d}"


def _classified(
    model: SequenceLM, world: World, categories: Tensor, temperature: float, generator: torch.Generator
) -> list[list[str]]:
    answers = _asked(model, categories, temperature, generator)
    # two syllables are too short to be nearly the same unless they are the same: similar = 1
    return [
        classify_items(items, [_word(*m) for m in world[c]], similar=1.0)
        for items, c in zip(answers, categories.tolist(), strict=True)
    ]


def _share(labels: list[list[str]], label: str, part: slice = slice(None)) -> float:
    return float(np.mean([x == label for row in labels for x in row[part]]))


def _rank_correlation(x: list[float], y: list[float]) -> float:
    """Spearman's; 0 where one of the two does not vary."""
    a, b = (np.array([np.mean(np.flatnonzero(np.sort(v) == u)) for u in v]) for v in (x, y))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """All sizes and ages in one world, or a pretrained model in ours."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    world = _world(settings["categories"], generator)
    asked = torch.randperm(len(world), generator=generator)[: settings["ask"]]
    widths, ages = settings["widths"], settings["ages"]
    shares: dict[str, list[float]] = {"repetition": [], "hallucination": []}
    strength: list[float] = []
    series: dict[str, Any] = {}
    lm = None
    for w, width in enumerate(widths):
        torch.manual_seed(seed)
        lm = SequenceLM(SequenceConfig(vocab_size=END + 1 + len(world), width=width, layers=["attention"] * 2))
        optimiser = torch.optim.AdamW(lm.parameters(), 4e-3 * (32 / width) ** 0.5, weight_decay=0.0)
        curve: dict[str, list[float]] = {label: [] for label in shares}
        for step in range(1, ages[-1] + 1):
            rows = _lists(world, torch.randint(len(world), (48,), generator=generator), generator)
            logits = lm.run(rows[:, :-1].clamp(min=0))[0]
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=-100)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            report((w + step / ages[-1]) / len(widths), f"width {width}")
            if step in ages:
                labels = _classified(lm, world, asked, 0, generator)
                for label, values in shares.items():
                    values.append(_share(labels, label))
                    curve[label].append(values[-1])
                strength.append(np.log(width) + np.log(step))
        for label, values in curve.items():
            series[f"{label}, greedy: width {width}"] = {"x": list(ages), "y": values}
    assert lm is not None
    greedy, sampled = (_classified(lm, world, asked, temperature, generator) for temperature in (0, 1.0))
    orders = [order for row in greedy if (order := follows_shift_order(row)) is not None]
    members = [len(world[c]) for c in asked.tolist()]
    known = [row.count("correct") / n for row, n in zip(greedy, members, strict=True)]
    shifted = world[1:] + world[:1]  # every category is judged by the next one's members
    wrong = _classified(lm, shifted, asked, 0, generator)
    exchanged = [row.count("correct") / n for row, n in zip(wrong, members, strict=True)]
    figures = {
        "repeats_small": shares["repetition"][0],
        "repeats_large": shares["repetition"][-1],
        "invents_small": shares["hallucination"][0],
        "invents_large": shares["hallucination"][-1],
        "repeats_trend": _rank_correlation(strength, shares["repetition"]),
        "invents_trend": _rank_correlation(strength, shares["hallucination"]),
        "first_third": _share(greedy, "repetition", slice(0, 5)),
        "last_third": _share(greedy, "repetition", slice(10, 15)),
        "order": float(np.mean(orders)) if orders else float("nan"),
        "repeats_cut": _share(greedy, "repetition") - _share(sampled, "repetition"),
        "invents_gain": _share(sampled, "hallucination") - _share(greedy, "hallucination"),
        "known": float(np.mean(known)),
        "known_null": float(np.mean(exchanged)),
    }
    return {"figures": figures, "series": series}


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    example = [FRUIT[i] for i in torch.randperm(len(FRUIT), generator=generator)]
    torch.manual_seed(seed)
    sampling: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
    said: dict[str, list[list[str]]] = {"greedy": [], "sampled": []}
    for n, name in enumerate(OURS):
        report(n / len(OURS), name)
        begun = "\n".join(
            [_title("fruit"), *(f"{i}. {item}" for i, item in enumerate(example, 1)), "", _title(name), "1."]
        )
        prompt = torch.tensor([tokenizer(begun, add_special_tokens=False)["input_ids"]])
        for kind, options in (("greedy", {"do_sample": False}), ("sampled", sampling)):
            text = continued(lm, prompt, settings["tokens"], **options)[0, prompt.shape[1] :]
            said[kind].append(items_of("1." + tokenizer.decode(text.tolist())))
    gold = list(OURS.values())
    greedy, sampled = (_judged(said[kind], gold) for kind in ("greedy", "sampled"))

    def known(rows: list[list[str]]) -> float:
        return float(np.mean([row.count("correct") / len(members) for row, members in zip(rows, gold, strict=True)]))

    return {
        "figures": {
            "pre_first_third": _share(greedy, "repetition", slice(0, 5)),
            "pre_last_third": _share(greedy, "repetition", slice(10, 15)),
            "pre_repeats_cut": _share(greedy, "repetition") - _share(sampled, "repetition"),
            "pre_invents_gain": _share(sampled, "hallucination") - _share(greedy, "hallucination"),
            "pre_known": known(greedy),
            "pre_known_null": known(_judged(said["greedy"], gold[1:] + gold[:1])),
        },
        "notes": [
            f"the pretrained model's list of {name}, seed {seed}: {', '.join(items)}"
            for name, items in list(zip(OURS, said["greedy"], strict=True))[:3]
            if seed == 0
        ],
    }


def _title(name: str) -> str:
    return f"A numbered list of {ITEMS} {name}:"


def items_of(text: str) -> list[str]:
    """The first words of the numbered lines, at most ITEMS; the last, which may be cut off, is left out."""
    lines = text.split("\n")[:-1]
    found = [match[1] for line in lines if (match := re.match(r"\s*\d+\.\s*([^,.:;()–]*)", line))]
    return [re.sub(r"\b(the|lake|ocean|planet)\b", "", item, flags=re.IGNORECASE).strip() for item in found[:ITEMS]]


def _judged(lists: list[list[str]], gold: list[tuple[str, ...]]) -> list[list[str]]:
    return [classify_items(items, known) for items, known in zip(lists, gold, strict=True)]
