"""Window memories against a slow loop, and what their self-supervision does."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.models import WindowMemoryNetwork


@pytest.fixture
def network() -> WindowMemoryNetwork:
    generator = torch.Generator().manual_seed(0)
    return WindowMemoryNetwork(12, 6, window=3, deviation=0.5, generator=generator).double()


WINDOWS = torch.tensor([[[1, 4, 2], [2, 5, 0], [3, 4, 7]], [[0, 6, 1], [8, 9, 1], [0, 0, 0]]])
QUERY = torch.tensor([[1, 11, 7], [8, 11, 1]])
CENTRE = torch.tensor([[0, 1, 0], [2, 0, -1]])


@pytest.mark.parametrize("positions", [True, False])
def test_scores_and_choices_are_the_equations(positions: bool) -> None:
    network = WindowMemoryNetwork(12, 6, window=3, positions=positions, deviation=0.5).double()
    reading = network(WINDOWS, QUERY, CENTRE)

    def vector(words: list[int]) -> torch.Tensor:
        total = torch.zeros(6, dtype=torch.float64)
        for place, word in enumerate(words):
            if word:
                total = total + network.words.weight[word + (12 * place if positions else 0)]
        return total

    for row in range(2):
        given = [m for m in range(3) if CENTRE[row, m] >= 0]
        scores = torch.stack([vector(QUERY[row].tolist()) @ vector(WINDOWS[row, m].tolist()) for m in given])
        assert torch.allclose(reading.scores[row, given], scores, atol=1e-12)
        weights = scores.exp() / scores.exp().sum()
        assert torch.allclose(reading.attention[row, given], weights, atol=1e-12)
        for how, of in (("sum", sum), ("max", max)):
            chosen = network.choose(reading, CENTRE, 3, how)[row].tolist()
            for candidate in range(3):
                mine = [float(w.detach()) for w, m in zip(weights, given, strict=True) if CENTRE[row, m] == candidate]
                assert chosen[candidate] == pytest.approx(float(of(mine)) if mine else 0.0)  # type: ignore[operator]


def test_the_loss_raises_the_best_window_of_the_answer_where_another_is_ahead(network: WindowMemoryNetwork) -> None:
    reading = network(WINDOWS, QUERY, CENTRE)
    for answer in ([0, 0], [0, 2], [1, 0], [1, 2]):
        expected = 0.0
        for row in range(2):
            mine = [m for m in range(3) if CENTRE[row, m] == answer[row]]
            best = max(mine, key=lambda m, row=row: float(reading.scores[row, m]))  # type: ignore[misc]
            if best != int(reading.scores[row].argmax()):
                expected -= float(reading.attention[row, best].log()) / 2
        loss = network.self_supervised(reading, CENTRE, torch.tensor(answer))
        assert float(loss) == pytest.approx(expected)
    nowhere = network.self_supervised(reading, CENTRE, torch.tensor([2, 1]))  # no window is around the answer
    assert float(nowhere) == 0
    nowhere.backward()


def test_it_learns_which_place_counts() -> None:
    """The candidate is the one whose left neighbour is the query's; the right one misleads."""
    draw = torch.Generator().manual_seed(0)
    network = WindowMemoryNetwork(40, 16, window=3, generator=draw)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)

    def batch(rows: int) -> tuple[torch.Tensor, ...]:
        left = 1 + torch.rand(rows, 10, generator=draw).argsort(1)[:, :4]
        right = 11 + torch.rand(rows, 10, generator=draw).argsort(1)[:, :4]
        names = 21 + torch.arange(4).expand(rows, -1)
        windows = torch.stack([left, names, right], 2)
        answer, other = torch.randint(4, (2, rows), generator=draw)
        row = torch.arange(rows)
        query = torch.stack([left[row, answer], torch.full((rows,), 39), right[row, other]], 1)
        return windows, query, torch.arange(4).expand(rows, -1), answer

    for _ in range(150):
        windows, query, centre, answer = batch(32)
        optimiser.zero_grad()
        network.self_supervised(network(windows, query, centre), centre, answer).backward()
        optimiser.step()
    windows, query, centre, answer = batch(300)
    said = network.choose(network(windows, query, centre), centre, 4).argmax(1)
    assert float((said == answer).float().mean()) > 0.95


def test_bad_input_says_so(network: WindowMemoryNetwork) -> None:
    for call, says in (
        (lambda: WindowMemoryNetwork(12, window=0), "window is 0"),
        (lambda: network(WINDOWS[..., :2], QUERY, CENTRE), "windows have 2 words, expected 3"),
        (lambda: network(WINDOWS + 9, QUERY, CENTRE), "expected 0 to 11"),
        (lambda: network.choose(network(WINDOWS, QUERY, CENTRE), CENTRE, 3, "mean"), "expected 'sum' or 'max'"),
    ):
        with pytest.raises(InputError, match=says):
            call()
