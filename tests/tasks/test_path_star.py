"""Stars against a reader that walks them in plain Python, from the goal backwards."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.path_star import ANSWER, BLANK, DUMMY, EDGE, FIRST_NODE, QUESTION, PathStar, own_answers


def read(tokens: list[int]) -> tuple[list[tuple[int, int]], int, int, list[int]]:
    """Edges, start, goal, and what follows the '='; blanks in front are skipped."""
    tokens = tokens[next(i for i, token in enumerate(tokens) if token != BLANK) :]
    question, equals = tokens.index(QUESTION), tokens.index(ANSWER)
    edges = tokens[:question]
    assert set(edges[2::3]) <= {EDGE}
    assert equals == question + 3
    return (
        list(zip(edges[::3], edges[1::3], strict=True)),
        tokens[question + 1],
        tokens[question + 2],
        tokens[equals + 1 :],
    )


def solve(tokens: list[int]) -> list[int]:
    """From the goal, which has one way in, back to the start."""
    edges, start, goal, _ = read(tokens)
    before = {head: tail for tail, head in edges}
    assert len(before) == len(edges)  # every node but the centre has exactly one edge into it
    path = [goal]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("length", [40, 47, 90])
def test_the_answer_is_the_path(generator: torch.Generator, order: str, teacher: bool, length: int) -> None:
    task = PathStar(length=40, arms=(2, 3, 5), order=order, teacher=teacher, test_lengths=[90])
    batch = task.sample(30, length, generator)
    assert batch.groups is not None
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        edges, start, _, said = read(inputs)
        arms = task.arms[group]
        out, into = Counter(tail for tail, _ in edges), Counter(head for _, head in edges)
        assert out[start] == arms
        assert start not in into
        assert all(count == 1 for node, count in out.items() if node != start)
        path = solve(inputs)
        assert len(edges) == arms * (len(path) - 1)  # all arms are equally long
        assert len(path) == task.nodes_per_arm(arms, length)
        answer = path if order == "forward" else path[::-1]
        assert targets == [IGNORE] * (length - len(path)) + answer
        assert said == (answer[:-1] if teacher else [DUMMY] * (len(path) - 1))
        assert all(FIRST_NODE <= node < task.vocab_size for edge in edges for node in edge)


def test_the_smallest_star_fills_its_length(generator: torch.Generator) -> None:
    """Two arms of four nodes: 6 edges, 24 positions, as in the paper's format without the last token."""
    inputs = PathStar().sample(4, 24, generator).inputs
    assert (inputs != BLANK).all()
    assert PathStar().nodes_per_arm(2, 24) == 4
    assert PathStar().nodes_per_arm(2, 30) == 4
    assert PathStar().nodes_per_arm(2, 31) == 5


def test_nothing_but_the_goal_tells_the_arm(generator: torch.Generator) -> None:
    """Every node, every place of the goal's edge, and the arm whose first edge comes first are equally likely."""
    task = PathStar(nodes=7, test_lengths=[24])
    rows = 14_000
    inputs = task.sample(rows, 24, generator).inputs
    goal, start = inputs[:, 19], inputs[:, 18]
    for column in (goal, start, inputs[:, 0]):
        share = torch.bincount(column - FIRST_NODE, minlength=7) / rows
        assert (share - 1 / 7).abs().max() < 5 * (6 / 49 / rows) ** 0.5
    heads = inputs[:, 1:18:3]  # (rows, edge)
    place = torch.bincount((heads == goal[:, None]).nonzero()[:, 1], minlength=6) / rows
    assert (place - 1 / 6).abs().max() < 5 * (5 / 36 / rows) ** 0.5
    from_centre = inputs[:, 0:18:3] == start[:, None]
    first = heads.gather(1, from_centre.long().argmax(1, keepdim=True))[:, 0]
    right = (first == task.sample(1, 24, generator).inputs[0, 0]).float()  # any fixed node: no more than any other
    assert right.mean() < 0.25
    step = torch.tensor([solve(row)[1] for row in inputs[:2000].tolist()])
    assert (first[:2000] == step).float().mean() == pytest.approx(0.5, abs=0.06)


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    task = PathStar(nodes=10, test_lengths=[24])
    targets = task.sample(4000, 24, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(task.chance, abs=0.01)


def _copier(inputs: Tensor) -> Tensor:
    """Logits of a reader that copies: after '=' the start, after the start a random arm's first node (that of the first
    edge written), then whatever the edges say."""
    said = torch.zeros(inputs.shape, dtype=torch.int64)
    for row, tokens in enumerate(inputs.tolist()):
        if ANSWER not in tokens:
            continue
        edges, start, _, _ = read(tokens)
        after = dict(reversed(edges))  # the first edge from the centre wins
        for t in range(tokens.index(ANSWER), len(tokens)):
            said[row, t] = start if tokens[t] == ANSWER else after.get(tokens[t], 0)
    return F.one_hot(said, 64).float()


def test_the_trap_and_its_measure(generator: torch.Generator) -> None:
    """A reader that only copies is right at every step but one with a teacher, and in half of the paths on its own."""
    batch = PathStar(test_lengths=[24]).sample(1000, 24, generator)
    taught = (_copier(batch.inputs).argmax(-1) == batch.targets)[:, -4:].float().mean(0)
    assert taught[[0, 2, 3]].tolist() == [1, 1, 1]
    assert taught[1] == pytest.approx(0.5, abs=0.06)
    own = own_answers(_copier, batch)
    assert (own[:, :-4] == IGNORE).all()
    whole = (own == batch.targets).all(1)
    assert whole.float().mean() == pytest.approx(float(taught[1]))
    for tokens, path, right in zip(batch.inputs.tolist(), own[:, -4:].tolist(), whole.tolist(), strict=True):
        assert (path == solve(tokens)) == right  # else it is the other arm, to its end
        assert path[-1] not in {tail for tail, _ in read(tokens)[0]}


def test_own_answers_never_see_the_teachers(generator: torch.Generator) -> None:
    """Whatever stands in the input where the answer is said, the same is answered; without a teacher, in one call."""
    table = torch.randn(64, 64, generator=generator)

    def noisy(inputs: Tensor) -> Tensor:  # depends on everything read so far
        return table[inputs].cumsum(1)

    for order in ("forward", "backward"):
        batch = PathStar(order=order, test_lengths=[24]).sample(20, 24, generator)
        other = batch.inputs.clone()
        other[:, -3:] = FIRST_NODE
        assert torch.equal(own_answers(noisy, batch), own_answers(noisy, Batch(other, batch.targets)))
    calls = []
    batch = PathStar(teacher=False, test_lengths=[24]).sample(20, 24, generator)
    said = own_answers(lambda x: calls.append(1) or noisy(x), batch)
    assert len(calls) == 1
    assert torch.equal(said[:, -4:], noisy(batch.inputs).argmax(-1)[:, -4:])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"arms": 1}, "arms=1, expected at least 2"),
        ({"arms": "2"}, "arms='2' is of type str"),
        ({"arms": 4}, "length=24 is too short for arms=4, expected at least 29"),
        ({"length": 10}, "length=10 is too short for arms=2, expected at least 17"),
        ({"nodes": 6}, "nodes=6 are too few for length=24, expected at least 7"),
        ({"nodes": 20}, "nodes=20 are too few for length=96, expected at least 27"),
        ({"nodes": -1}, "nodes=-1"),
        ({"order": "backwards"}, "Did you mean 'backward'"),
        ({"teacher": 1}, "teacher=1, expected true or false"),
        ({"test_lengths": [16]}, "length=16 is too short"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        PathStar(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_shortest_length_that_is_named_is_enough() -> None:
    for arms in (2, 4, 10):
        assert PathStar(length=6 * arms + 5, arms=arms).nodes_per_arm(arms, 6 * arms + 5) == 3


def test_example_shows_edges_question_and_answer(generator: torch.Generator) -> None:
    shown, answer = PathStar().example(generator).split("->")
    edges, question = shown.split("|")
    after = dict(edge.split(">") for edge in edges.split())
    path = answer.split()
    assert question.split() == [path[0], "to", f"{path[-1]}?"]
    assert all(after[a] == b for a, b in list(itertools.pairwise(path))[1:])
