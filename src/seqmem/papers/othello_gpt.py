"""The board inside a model that has only read moves: probes read it, and what they read can be moved."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.interp import Probe, activations_at, fit_probe, latent_saliency, probe_error, steer
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._tasks import learner, of_task
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.othello import EMPTY, MINE, NEW_GAME, YOURS, Othello

LAYERS, WIDTH, HIDDEN = 4, 96, 128
READ = 2  # the third layer, from which the figures of the probes are
STEERED = (1, 2, 3)
#: of the gradient on the activation (seqmem.interp.move)
STEPS, RATE = 10, 0.03

PAPER = Paper(
    slug="othello-gpt",
    uses=(
        "seqmem.tasks.othello.Othello",
        "seqmem.interp.fit_probe",
        "seqmem.interp.steer",
        "seqmem.interp.latent_saliency",
    ),
    setup="A model of 4 layers of attention (width 96) is trained to say the next move of 60,000 fresh "
    "random games on the 6x6 board. Probes read every square from the residual stream after the third layer: empty, "
    "black or white, or empty, mine or yours for the player to move; linear, and with 128 hidden units. Then the "
    "activations at the last position are moved, after layers 2, 3 and 4 in turn, along the gradient of the probe with "
    "hidden units, ten steps towards the same board with one disc turned over, and the model goes on; its most likely "
    "moves, as many as are legal on that board, are compared with these. 200 boards, the disc chosen among those whose "
    "turning changes what is legal. The latent saliency of a disc is by how much the chosen move's logit falls when "
    "the disc is turned so.",
    baseline="the same model before its first step; the commonest state of each square; the predictions without an "
    "intervention, and with one that writes the board as it is",
    control="probes that are fitted to the boards of other games at the same move: what is moved along their gradient "
    "must not make the predictions fit",
    figures=(
        Figure("legal", "legal moves of the trained model", ""),
        Figure("untrained", "the same, untrained", ""),
        Figure("hidden_mine", "squares misread as mine or yours, hidden units", ""),
        Figure("hidden_untrained", "the same, in the untrained model", ""),
        Figure("linear_mine", "squares misread as mine or yours, linear", ""),
        Figure("linear_colour", "squares misread as black or white, linear", ""),
        Figure("commonest", "squares misread as what is commonest there, mine or yours", ""),
        Figure("plain", "wrong moves, too many and missing, on the changed board, without intervention", "moves"),
        Figure("steered", "the same, after the intervention", "moves"),
        Figure("steered_same", "the same, after being moved to the board as it is", "moves"),
        Figure("steered_other", "the same, along the probes of other games (control)", "moves"),
        Figure("salient", "saliency of the discs without which the move is illegal", "logits"),
        Figure("not_salient", "saliency of all others", "logits"),
    ),
    rule=Rule(
        holds="mean(legal) >= 0.9 and mean(untrained) <= 0.2 and mean(hidden_mine / hidden_untrained) <= 0.6 and "
        "mean(linear_colour - linear_mine) >= 0.05 and mean(1 - steered / plain) >= 0.25 and "
        "low(steered_same - steered) > 0",
        in_part="mean(legal) >= 0.9 and mean(untrained) <= 0.2 and mean(hidden_mine / hidden_untrained) <= 0.6",
        control="mean(1 - steered_other / plain) <= 0.1",
    ),
    limits="A small board, minutes of training: the paper's model plays 99.99 % legal moves. Boards after the change "
    "are natural and unreachable ones together. What is read and moved is mine and yours, which a later analysis of "
    "the paper's models found to be what they represent. Recurrent layers, championship games and the paper's figures "
    "per layer are left out.",
    own_model="fit_probe(activations_at(model, 'layers.2.resid.out', tokens), task.boards(tokens).tiles, hidden=128, "
    "generator=...), then steer(model, {'layers.2.resid.out': probe}, wanted); games of any mixer: seqmem compare "
    "--tasks othello --mixers attention,lstm",
    settings={
        "smoke": {"size": 4, "steps": 3, "batch": 8, "games": 40, "test": 10, "fit": 5, "boards": 4},
        "laptop": {"size": 6, "steps": 3000, "batch": 20, "games": 1200, "test": 300, "fit": 600, "boards": 200},
        "full": {"size": 8, "steps": 60_000, "batch": 64, "games": 5000, "test": 1000, "fit": 5000, "boards": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


class Cases(NamedTuple):
    """Beginnings of games of one length, (case, time), the board at their end and the same with one disc turned over,
    (case, tile)."""

    tokens: Tensor
    tiles: Tensor
    changed: Tensor


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model: trained, read, and moved."""
    generator = torch.Generator().manual_seed(20_000 + seed)
    task = Othello(size=settings["size"])
    test = task.sample(settings["test"], task.length, torch.Generator().manual_seed(10_000 + seed), split="test")

    layers: list[Any] = ["attention"] * LAYERS
    options: dict[str, Any] = {"width": WIDTH, "short_conv": 4}
    torch.manual_seed(seed)
    untrained = SequenceLM(SequenceConfig(task.vocab_size, layers=layers, **options)).eval()
    lm = learner(
        of_task(task, settings["batch"]),
        task.vocab_size,
        layers,
        settings["steps"],
        seed,
        rate=2.5e-3,
        report=lambda step: report(0.8 * step / settings["steps"], "training"),
        **options,
    )

    @torch.no_grad()
    def legal(lm: SequenceLM) -> float:
        said = torch.cat([lm.run(some)[0].argmax(-1) for some in test.inputs.split(64)])
        return float(task.right(test, said).float().mean())

    figures = {"legal": legal(lm), "untrained": legal(untrained)}

    report(0.8, "probes")
    games = task.sample(settings["games"], task.length, generator).inputs
    boards, judged = task.boards(games), task.boards(test.inputs)
    place = f"layers.{READ}.resid.out"
    read = {"": lm, "_untrained": untrained}
    x = {name: [activations_at(one, place, tokens) for tokens in (games, test.inputs)] for name, one in read.items()}

    def fit(activations: Tensor, labels: Tensor, hidden: int = HIDDEN) -> Probe:
        return fit_probe(activations, labels, hidden=hidden, classes=3, steps=settings["fit"], generator=generator)

    def error(name: str, colours: bool, hidden: int) -> tuple[float, Probe]:
        labels, answers = (known.colours if colours else known.tiles for known in (boards, judged))
        probe = fit(x[name][0], labels, hidden)
        return probe_error(probe, x[name][1], answers), probe

    figures["hidden_mine"], third = error("", False, HIDDEN)
    figures["hidden_untrained"] = error("_untrained", False, HIDDEN)[0]
    figures["linear_mine"] = error("", False, 0)[0]
    figures["linear_colour"] = error("", True, 0)[0]
    figures["commonest"] = float((judged.tiles != boards.tiles.flatten(0, 1).mode(0).values).float().mean())

    report(0.9, "interventions")
    order = (torch.arange(len(games)) + 1) % len(games)  # another game's board
    probes, others = {}, {}
    for layer in STEERED:
        site = f"layers.{layer}.resid.out"
        here = x[""][0] if layer == READ else activations_at(lm, site, games)
        probes[site] = third if layer == READ else fit(here, boards.tiles)
        others[site] = fit(here, boards.tiles[order])
    cases = _cases(task, settings["boards"], generator)
    figures["plain"] = _wrong(lm, task, cases, {})
    figures["steered"] = _wrong(lm, task, cases, probes)
    figures["steered_same"] = _wrong(lm, task, cases, probes, turned=False)
    figures["steered_other"] = _wrong(lm, task, cases, others)
    figures["salient"], figures["not_salient"] = _saliency(lm, task, cases[len(cases) // 2], probes)
    return {"figures": figures}


def _cases(task: Othello, count: int, generator: torch.Generator) -> list[Cases]:
    """About ``count`` boards, of eight lengths between a fifth of a game and nine tenths."""
    found, groups = [], 8 if count >= 8 else 1
    for group in range(groups):
        time = round(task.length * (0.2 + 0.7 * (group + 0.5) / groups))
        tokens = task.sample(4 * count // groups + 8, time, generator).inputs
        boards = task.boards(tokens)
        tiles, legal = boards.tiles[:, -1], boards.legal[:, -1]
        turned = tiles[:, None].repeat(1, tiles.shape[1], 1)  # (game, turned, tile)
        eye = torch.eye(tiles.shape[1], dtype=torch.bool)
        turned = torch.where(eye, torch.where(tiles == MINE, YOURS, MINE)[:, None], turned)
        after = task.legal_after(turned)  # (game, turned, vocabulary)
        fits = (tiles != EMPTY) & (after != legal[:, None]).any(2) & ~after[..., NEW_GAME]
        chosen = torch.where(fits, torch.rand(fits.shape, generator=generator), -1.0).argmax(1)
        rows = (fits.any(1) & ~legal[:, NEW_GAME]).nonzero()[: max(1, count // groups), 0]
        found.append(Cases(tokens[rows], tiles[rows], turned[rows, chosen[rows]]))
    return found


@torch.no_grad()
def _wrong(lm: SequenceLM, task: Othello, cases: list[Cases], probes: dict[str, Probe], turned: bool = True) -> float:
    """Mean number of moves that are among the likeliest and illegal on the changed board, or legal and not among them,
    where as many are taken as are legal; moved to that board, or where not ``turned`` to the one that it was."""
    wrong = []
    for tokens, tiles, changed in cases:
        with steer(lm, probes, changed if turned else tiles, steps=STEPS, rate=RATE):
            logits = lm(tokens).logits[:, -1]
        legal = task.legal_after(changed)
        rank = logits.argsort(1, descending=True).argsort(1)
        wrong.append(((rank < legal.sum(1, keepdim=True)) != legal).sum(1))
    return float(torch.cat(wrong).float().mean())


def _saliency(lm: SequenceLM, task: Othello, cases: Cases, probes: dict[str, Probe]) -> tuple[float, float]:
    """Mean latent saliency, for the model's legal moves, of the discs that the move needs and of all others."""
    tokens, tiles, _ = cases
    flipped = torch.where(tiles == EMPTY, IGNORE, torch.where(tiles == MINE, YOURS, MINE))
    with torch.no_grad():
        said = lm(tokens).logits[:, -1].argmax(-1)
    found = latent_saliency(lm, tokens, probes, tiles, flipped, answer=said, steps=STEPS, rate=RATE)
    eye = torch.eye(tiles.shape[1], dtype=torch.bool)
    after = task.legal_after(torch.where(eye, flipped.clamp(min=EMPTY)[:, None], tiles[:, None]))
    still = after.gather(2, said[:, None, None].expand(-1, tiles.shape[1], 1))[..., 0]
    occupied = (tiles != EMPTY) & task.legal_after(tiles).gather(1, said[:, None])
    return float(found[occupied & ~still].mean()), float(found[occupied & still].mean())
