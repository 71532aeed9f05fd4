"""Memory networks answer questions about generated stories: how many hops it takes, where each of them looks, and what
the order of words is worth."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models import MemoryNetwork, SequenceConfig, SequenceLM
from seqmem.models.memory_network import Reading
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks._walks import PLACE
from seqmem.tasks.stories import GRAMMAR, Stories, Told, flat
from seqmem.training.answers import fit_answers

PAPER = Paper(
    slug="memn2n",
    uses=(
        "seqmem.models.memory_network.MemoryNetwork",
        "seqmem.training.answers.fit_answers",
        "seqmem.tasks.stories.Stories",
    ),
    setup="1,000 generated stories of 8 sentences for each kind of question: where somebody is (one fact), where a "
    "thing is (two: who has it, where they went), where it was before (three), and what lies north of a place (the "
    "order of two names). Memory networks of width 20 learn from the answers alone, by gradient descent with linear "
    "start, random noise and adjacent weight tying, and are asked about 1,000 new stories. For the two-fact stories "
    "it is noted which sentence has the largest weight in every hop.",
    baseline="one hop in place of three; a bag of words in place of position encoding; an LSTM that reads the same "
    "stories word by word",
    control="the place in the second fact exchanged for another in two-fact stories that were answered rightly: the "
    "old answer is then known from nothing. And the hops beside the facts of another story, which they must miss",
    figures=(
        Figure("one_fact", "one fact, three hops", "accuracy"),
        Figure("three_hops", "two facts, three hops", "accuracy"),
        Figure("two_hops", "two facts, two hops", "accuracy"),
        Figure("one_hop", "two facts, one hop (baseline)", "accuracy"),
        Figure("lstm", "two facts, LSTM (baseline)", "accuracy"),
        Figure("three_facts", "three facts, three hops", "accuracy"),
        Figure("position", "order of words, position encoding", "accuracy"),
        Figure("bag", "order of words, bag of words (baseline)", "accuracy"),
        Figure("hop_by_hop", "two hops, right answers: hop 1 on the first fact and hop 2 on the second", ""),
        Figure("in_order", "three hops, right answers: a hop on the first fact, a later one on the second", ""),
        Figure("first_two_hops", "the same: hop 1 on the first fact and hop 2 on the second", ""),
        Figure("other_story", "a hop on the first fact of another story, a later one on its second (control)", ""),
        Figure("exchanged", "the second fact's place exchanged: the old answer (control)", ""),
        Figure("exchanged_new", "the same: the new answer", ""),
    ),
    rule=Rule(
        holds="low(three_hops - one_hop) >= 0.15 and one_fact >= 0.97 and position >= bag and hop_by_hop >= 0.7 and "
        "in_order >= 0.7",
        in_part="low(three_hops - one_hop) >= 0.15",
        control="best(exchanged) <= 0.1 and best(other_story) <= 0.3",
    ),
    limits="Short stories in a small language of our own, not the twenty bAbI tasks: the paper's mean error is not "
    "measured, nor its language models. With three hops and two facts one hop is spare; where it looks is left open, "
    "so that there the facts need only be read in their order, and the literal statement, hop k on fact k, is judged "
    "with two hops. Read literally of three hops it is reported beside. The learning rate is three times the paper's, "
    "for fewer epochs; each network is trained once, where the paper keeps the best of ten. In stories of 10 sentences "
    "at the paper's rate, 60 epochs did not leave the plateau (0.37). The LSTM is one layer of 64, trained once too.",
    own_model="MemoryNetwork(vocabulary), fit_answers(network, sentences, question, answer) on stories of one's own: "
    "docs/memory-networks.md",
    parts=("one", "two", "hops", "three", "order", "lstm"),
    settings={
        "smoke": {"stories": 40, "sentences": 6, "test": 40, "epochs": 2, "steps": 2},
        "laptop": {"stories": 1000, "sentences": 8, "test": 1000, "epochs": 60, "steps": 400},
        "full": {"stories": 10000, "sentences": 20, "test": 10000, "epochs": 100, "steps": 10000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

WIDTH, RATE = 20, 0.03


def _stories(kind: str, settings: dict[str, Any], seed: int) -> tuple[Told, Told]:
    """To learn from, and to be asked about."""
    task = Stories(kinds=(kind,))
    return tuple(  # type: ignore[return-value]
        task.told(settings[count], settings["sentences"], torch.Generator().manual_seed(start + seed))
        for count, start in (("stories", 0), ("test", 10_000))
    )


def _taught(told: Told, settings: dict[str, Any], seed: int, report: Report, **options: Any) -> MemoryNetwork:
    generator = torch.Generator().manual_seed(20_000 + seed)
    memory = settings["sentences"] + 4  # there is room for the empty ones
    network = MemoryNetwork(Stories().vocab_size, WIDTH, memory=memory, generator=generator, **options)
    fit_answers(
        network,
        told.sentences,
        told.question,
        told.answer,
        epochs=settings["epochs"],
        rate=RATE,
        generator=generator,
        report=lambda epoch: report(epoch / settings["epochs"], f"epoch {epoch}"),
    )
    return network


@torch.no_grad()
def _asked(network: MemoryNetwork, told: Told) -> tuple[Reading, Tensor]:
    """What it reads, and which answers are right."""
    reading = network(told.sentences, told.question)
    return reading, reading.logits.argmax(-1) == told.answer


def _share(which: Tensor) -> float:
    return float(which.float().mean())


def _in_order(attention: Tensor, support: Tensor) -> Tensor:
    """Whether the sentence with the largest weight is the first fact in some hop, and the second in a later one."""
    first, second = (attention.argmax(-1) == support[:, n, None] for n in range(2))  # (batch, hop)
    return (first.cummax(1).values[:, :-1] & second[:, 1:]).any(1)


def _hop_by_hop(attention: Tensor, support: Tensor) -> Tensor:
    return (attention.argmax(-1)[:, :2] == support[:, :2]).all(1)


def _exchanged(told: Told, generator: torch.Generator) -> tuple[Told, Tensor]:
    """Stories whose second fact names another place, the new answer."""
    places = len(GRAMMAR.places)
    other = torch.randint(1, places, told.answer.shape, generator=generator)
    new = PLACE + (told.answer - PLACE + other) % places
    rows = torch.arange(len(new))
    fact = told.sentences[rows, told.support[:, 1]]  # (batch, word)
    sentences = told.sentences.clone()
    sentences[rows, told.support[:, 1]] = torch.where(fact == told.answer[:, None], new[:, None], fact)
    return told._replace(sentences=sentences), new


def _lstm(told: Told, test: Told, settings: dict[str, Any], seed: int, report: Report) -> float:
    """Accuracy of an LSTM that reads stories word by word."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    length, steps = 8 * settings["sentences"] + 8, settings["steps"]
    train, asked = flat(told, length), flat(test, length)
    lm = SequenceLM(SequenceConfig(Stories().vocab_size, 64, layers=["lstm"]))

    def loss_of(_: int) -> Tensor:
        rows = torch.randint(len(train.inputs), (32,), generator=generator)
        return F.cross_entropy(lm.run(train.inputs[rows])[0][:, -1], train.targets[rows, -1])

    descend(lm, loss_of, steps, 5e-3, lambda step: report(step / steps, "LSTM"))
    with torch.no_grad():
        return _share(lm.run(asked.inputs)[0][:, -1].argmax(-1) == test.answer)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One kind of story, one or two networks."""
    kind = {"hops": "two", "lstm": "two", "order": "north"}.get(part, part)
    told, test = _stories(kind, settings, seed)
    if part == "lstm":
        return {"figures": {"lstm": _lstm(told, test, settings, seed, report)}}
    if part == "order":
        networks = {name: _taught(told, settings, seed, report, encoding=name) for name in ("position", "bag")}
        return {"figures": {name: _share(_asked(one, test)[1]) for name, one in networks.items()}}
    if part == "hops":
        one, two = (_taught(told, settings, seed, report, hops=hops) for hops in (1, 2))
        reading, right = _asked(two, test)
        followed = _share(_hop_by_hop(reading.attention, test.support)[right])
        return {"figures": {"one_hop": _share(_asked(one, test)[1]), "two_hops": _share(right), "hop_by_hop": followed}}
    network = _taught(told, settings, seed, report, hops=3)
    reading, right = _asked(network, test)
    if part != "two":
        return {"figures": {f"{part}_fact" + "s" * (part == "three"): _share(right)}}
    changed, new = _exchanged(test, torch.Generator().manual_seed(seed))
    said = _asked(network, changed)[0].logits.argmax(-1)[right]
    figures = {
        "three_hops": _share(right),
        "in_order": _share(_in_order(reading.attention, test.support)[right]),
        "first_two_hops": _share(_hop_by_hop(reading.attention, test.support)[right]),
        "other_story": _share(_in_order(reading.attention, test.support.roll(1, 0))[right]),
        "exchanged": _share(said == test.answer[right]),
        "exchanged_new": _share(said == new[right]),
    }
    weights = reading.attention[right].gather(2, test.support[right, None, :2].expand(-1, 3, -1)).mean(0)  # (hop, fact)
    series = {
        f"weight against hop: fact {fact + 1}": {"x": [1, 2, 3], "y": weights[:, fact].tolist()} for fact in range(2)
    }
    return {"figures": figures, "series": series}
