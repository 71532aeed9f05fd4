"""Othello against an engine of lists and loops, and against the published numbers of move sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.othello import EMPTY, MINE, NEW_GAME, YOURS, Othello
from seqmem.tasks.othello_rules import legal, perft, play, squares, start, turn

AROUND = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if (dr, dc) != (0, 0)]


class Slow:
    """One game: a board of "." and colours, walked square by square."""

    def __init__(self, size: int) -> None:
        h = size // 2
        self.size, self.player = size, "b"
        self.board = [["."] * size for _ in range(size)]
        self.board[h - 1][h - 1] = self.board[h][h] = "w"
        self.board[h - 1][h] = self.board[h][h - 1] = "b"

    def enclosed(self, row: int, column: int, player: str) -> list[tuple[int, int]]:
        """What a disc there turns over."""
        other = {"b": "w", "w": "b"}[player]
        found: list[tuple[int, int]] = []
        for dr, dc in AROUND:
            line, r, c = [], row + dr, column + dc
            while 0 <= r < self.size and 0 <= c < self.size and self.board[r][c] == other:
                line.append((r, c))
                r, c = r + dr, c + dc
            if line and 0 <= r < self.size and 0 <= c < self.size and self.board[r][c] == player:
                found += line
        return found

    def moves(self, player: str) -> list[int]:
        return [
            self.size * r + c
            for r in range(self.size)
            for c in range(self.size)
            if self.board[r][c] == "." and self.enclosed(r, c, player)
        ]

    def settle(self) -> list[int]:
        """Pass where the player must; the legal squares, none at the end."""
        found = self.moves(self.player)
        other = {"b": "w", "w": "b"}[self.player]
        if not found and (found := self.moves(other)):
            self.player = other
        return found

    def put(self, square: int) -> None:
        row, column = divmod(square, self.size)
        for r, c in [*self.enclosed(row, column, self.player), (row, column)]:
            self.board[r][c] = self.player
        self.player = {"b": "w", "w": "b"}[self.player]


def test_the_published_numbers_of_move_sequences() -> None:
    assert [perft(depth) for depth in range(8)] == [1, 4, 12, 56, 244, 1396, 8200, 55092]


@pytest.mark.parametrize(("size", "depth"), [(4, 7), (6, 5)])
def test_as_many_move_sequences_as_the_slow_engine(size: int, depth: int) -> None:
    def count(game: Slow, left: int) -> int:
        if not left:
            return 1
        found, other = game.moves(game.player), {"b": "w", "w": "b"}[game.player]
        if not found and not game.moves(other):
            return 0
        total = 0
        for square in found or [None]:
            after = Slow(size)
            after.board, after.player = [row[:] for row in game.board], game.player
            if square is None:
                after.player = other
            else:
                after.put(square)
            total += count(after, left - 1)
        return total

    assert perft(depth, size) == count(Slow(size), depth)


@pytest.mark.parametrize("size", [4, 6, 8])
def test_random_games_square_by_square(generator: torch.Generator, size: int) -> None:
    """Tiles, colours and legal moves after every token; passes and ends of games among them."""
    task = Othello(size=size)
    batch = task.sample(40 if size == 4 else 8, 4 * task.length, generator)
    boards = task.boards(batch.inputs)
    tokens = {task.name_of(token): token for token in range(task.vocab_size)}
    passed = ended = 0
    for row in range(len(batch.inputs)):
        for t, token in enumerate(batch.inputs[row].tolist()):
            if token == NEW_GAME:
                game, mover = Slow(size), "w"
            else:
                name = task.name_of(token)
                mover = game.player
                game.put(size * (int(name[1:]) - 1) + ord(name[0]) - ord("a"))
            found = game.settle()
            passed += bool(found) and game.player == mover
            ended += not found
            flat = [tile for line in game.board for tile in line]
            assert boards.colours[row, t].tolist() == [".bw".index(tile) for tile in flat]
            own = [EMPTY if tile == "." else MINE if tile == game.player else YOURS for tile in flat]
            assert boards.tiles[row, t].tolist() == own
            may = [tokens["abcdefgh"[s % size] + str(s // size + 1)] for s in found] or [NEW_GAME]
            assert sorted(may) == boards.legal[row, t].nonzero()[:, 0].tolist()
            assert int(batch.targets[row, t]) in may
    assert ended
    assert passed or size == 8
    assert torch.equal(batch.targets[:, :-1], batch.inputs[:, 1:])
    assert torch.equal(task.legal_after(boards.tiles), boards.legal)


def test_moves_are_drawn_evenly(generator: torch.Generator) -> None:
    task = Othello(size=6)
    second = task.sample(30_000, 3, generator).targets[:, 1]
    first = task.sample(30_000, 3, generator).targets[:, 0]
    assert (torch.bincount(first)[torch.bincount(first) > 0] / 30_000 - 1 / 4).abs().max() < 0.0125
    assert len(torch.bincount(first).nonzero()) == 4
    assert (torch.bincount(second) > 0).sum() > 4


def test_turning_the_board_over_changes_nothing(generator: torch.Generator) -> None:
    """The rules have no direction: a position turned by a quarter has its legal squares turned by a quarter."""
    task = Othello(size=8)
    tiles = task.boards(task.sample(50, 60, generator).inputs).tiles.view(-1, 8, 8)
    turned = tiles.rot90(1, (1, 2)).flatten(1)

    def may(boards: torch.Tensor) -> torch.Tensor:
        places = 2 ** np.arange(64, dtype=np.uint64)
        mine, yours = ((places * (boards.numpy() == side)).sum(1, dtype=np.uint64) for side in (MINE, YOURS))
        found = squares(legal(start(1)._replace(mine=mine, yours=yours)))
        return torch.from_numpy(found).view(-1, 8, 8)

    assert torch.equal(may(turned), may(tiles.flatten(1)).rot90(1, (1, 2)))


@pytest.mark.parametrize("size", [4, 6, 8])
def test_chance_is_the_best_constant_answer(generator: torch.Generator, size: int) -> None:
    task = Othello(size=size)
    share = task.boards(task.sample(3000, task.length, generator).inputs).legal.float().mean((0, 1))
    assert float(share.max()) == pytest.approx(task.chance, abs=0.006)


def test_every_legal_move_is_right_and_no_other(generator: torch.Generator) -> None:
    task = Othello(size=4)
    batch = task.sample(50, 24, generator)
    legal_tokens = task.boards(batch.inputs).legal
    for token in range(task.vocab_size):
        said = torch.full_like(batch.targets, token)
        assert torch.equal(task.right(batch, said), legal_tokens[..., token])
    assert not task.right(batch, torch.full_like(batch.targets, IGNORE)).any()


def test_an_experiment_counts_legal_moves(generator: torch.Generator) -> None:
    """``score`` asks the task what is right: who names the last legal move has 1, who names one square its share."""
    from seqmem.training.evaluate import score

    task = Othello(size=4)

    class Player(torch.nn.Module):
        def run(self, inputs: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, None]:
            return task.boards(inputs).legal[asked].float() * torch.arange(task.vocab_size), None

    class Constant(torch.nn.Module):
        def run(self, inputs: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, None]:
            return torch.eye(task.vocab_size)[5].expand(int(asked.sum()), -1), None

    assert score(Player(), task, 12, 1200, "test") == {"all": 1.0}
    assert score(Constant(), task, 12, 60_000, "test")["all"] == pytest.approx(task.chance, abs=0.02)


def test_one_step_by_hand() -> None:
    """Black's four openings on the full board; f5 turns e5."""
    task = Othello()
    batch = Batch(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    legal_first = task.boards(batch.inputs[:, :1]).legal[0, 0].nonzero()[:, 0].tolist()
    assert [task.name_of(token) for token in legal_first] == ["d3", "c4", "f5", "e6"]
    positions, moves = turn(play(start(1), np.array([37])))
    assert squares(positions.yours)[0].nonzero()[0].tolist() == [28, 35, 36, 37]
    assert squares(moves)[0].sum() == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 5}, "size=5, expected one of 4, 6, 8"),
        ({"size": "8"}, "size='8' is of type str"),
        ({"length": -1}, "length=-1, expected at least 0"),
        ({"test_lengths": [0]}, "test_lengths=0, expected at least 1"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Othello(**options)
    assert says in str(error.value)


def test_illegal_moves_are_refused() -> None:
    task = Othello(size=6)
    with pytest.raises(InputError, match="token 1 at position 1 of row 0 is no legal move there, expected one of"):
        task.boards(torch.tensor([[0, 1]]))
    with pytest.raises(InputError, match=r"token 99 at position 0"):
        task.boards(torch.tensor([[99]]))
    with pytest.raises(InputError, match="token 3 at position 0"):
        task.boards(torch.tensor([[3]]))
    with pytest.raises(InputError, match=r"expected \(batch, time\) int64"):
        task.boards(torch.zeros(3))
    with pytest.raises(InputError, match=r"expected \(\.\.\., 36\)"):
        task.legal_after(torch.zeros(2, 9, dtype=torch.int64))
    with pytest.raises(InputError, match="size=5, expected one of 4, 6, 8"):
        start(1, 5)
