"""Othello: games of random legal moves, read as a sequence of squares. Which moves are legal now?

Source: Emergent World Representations (2022), arXiv 2210.13382, its synthetic games.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task
from seqmem.tasks.othello_rules import BITS, SIZES, Bits, Positions, choose, legal, play, squares, start, turn

NEW_GAME, FIRST_SQUARE = 0, 1
EMPTY, MINE, YOURS = 0, 1, 2
BLACK, WHITE = 1, 2
#: board size -> share of legal answers of the best constant one, 100,000 games of the training length
CONSTANT = {4: 0.247, 6: 0.178, 8: 0.156}


class Boards(NamedTuple):
    """What is known after each token, for rows of tokens.

    tiles: (batch, time, size * size) int64, EMPTY, or MINE and YOURS as the player to move sees it. colours: the same
    with BLACK and WHITE. legal: (batch, time, vocabulary) bool, the tokens that may come next; after the end of a game
    that is NEW_GAME alone.
    """

    tiles: Tensor
    colours: Tensor
    legal: Tensor


@dataclass(frozen=True)
class Othello(Task):
    """Games in which every move is drawn evenly from the legal ones. At every position a legal next move is asked.

        new f5 d6 c3 ...   ->   f5 d6 c3 f4 ...

    Token 0 begins a game on the empty board; the others are the squares row by row, without the four in the middle, on
    which no one plays. Black begins; who cannot move passes, which is no token; a game in which no one can is over, and
    the next begins, so that a row of any length can be read. The target is the move that was played; an answer is right
    when it is legal.

    Options:
        size: rows of the board, 4, 6 or 8.
        length: time steps of a training example; 0: as many as there are squares to play on, one whole game.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``: game after game.
    """

    changes: ClassVar[Changes] = {"size": (6, 8)}
    baseline: ClassVar[dict[str, int]] = {"size": 4}

    size: int = 8
    length: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if _check.integer("othello", "size", self.size, at_least=4) not in SIZES:
            raise InputError(f"task 'othello': size={self.size}, expected one of {', '.join(map(str, SIZES))}")
        if _check.integer("othello", "length", self.length, at_least=0) == 0:
            object.__setattr__(self, "length", self.size**2 - 4)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("othello", self.test_lengths, self.length))

    @property
    def vocab_size(self) -> int:
        return FIRST_SQUARE + self.size**2 - 4

    @property
    def chance(self) -> float:
        """The share of legal answers of the best single square, named at every position of whole games."""
        return CONSTANT[self.size]

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of fresh games, each from the beginning of one."""
        _check.request("othello", batch_size, length, generator, split)
        uniform = torch.rand(length, batch_size, generator=generator, dtype=torch.float64).numpy()
        tokens = np.zeros((batch_size, length + 1), np.int64)
        positions, moves = turn(start(batch_size, self.size), self.size)
        for t in range(length):
            may = squares(moves, self.size)  # (batch, square)
            count = may.cumsum(1)
            chosen = np.floor(uniform[t] * count[:, -1]).astype(np.int64)  # the n-th legal square
            square = (count <= chosen[:, None]).sum(1)  # the number of squares there are where none is legal
            tokens[:, t + 1] = np.where(moves == 0, NEW_GAME, _tokens(self.size)[square % self.size**2])
            positions, moves = self._after(positions, tokens[:, t + 1])
        read = torch.from_numpy(tokens)
        return Batch(read[:, :-1].contiguous(), read[:, 1:].contiguous())

    def boards(self, inputs: Tensor) -> Boards:
        """What is known after every token of ``inputs``, (batch, time), each row the beginning of a game.

        Raises InputError for a move that is not legal, with its place.
        """
        if inputs.ndim != 2 or inputs.dtype != torch.int64 or not inputs.numel():
            raise InputError(
                f"task 'othello': inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}, expected "
                "(batch, time) int64"
            )
        tokens = inputs.cpu().numpy()
        mine, yours = (np.zeros(tokens.shape, BITS) for _ in range(2))
        black, moves = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, BITS)
        may = np.zeros((len(tokens), self.vocab_size), bool)
        may[:, NEW_GAME] = True
        positions = start(len(tokens), self.size)
        for t in range(tokens.shape[1]):
            self._refuse_illegal(tokens[:, t], may, t)
            positions, moves[:, t] = self._after(positions, tokens[:, t])
            mine[:, t], yours[:, t], black[:, t] = positions
            may = self._may(moves[:, t])
        own, other = (torch.from_numpy(squares(x, self.size)).long() for x in (mine, yours))
        first = torch.from_numpy(black)[..., None]
        return Boards(
            MINE * own + YOURS * other,
            torch.where(first, BLACK * own + WHITE * other, WHITE * own + BLACK * other),
            torch.from_numpy(self._may(moves)),
        )

    def legal_after(self, tiles: Tensor) -> Tensor:
        """(..., vocabulary) bool: where the player to move may play on boards (..., size * size) of EMPTY, MINE and
        YOURS, reachable in a game or not; NEW_GAME where nowhere (nobody passes)."""
        if tiles.shape[-1:] != (self.size**2,) or tiles.min() < EMPTY or tiles.max() > YOURS:
            raise InputError(
                f"task 'othello': tiles of shape {tuple(tiles.shape)} from {int(tiles.min())} to {int(tiles.max())}, "
                f"expected (..., {self.size**2}) of {EMPTY}, {MINE} and {YOURS}"
            )
        flat = tiles.reshape(-1, self.size**2).cpu().numpy()
        places = np.ones((), BITS) << np.arange(self.size**2, dtype=BITS)
        mine, yours = ((places * (flat == side)).sum(1, dtype=BITS) for side in (MINE, YOURS))
        moves = legal(Positions(mine, yours, np.ones(len(flat), bool)), self.size)
        return torch.from_numpy(self._may(moves)).reshape(*tiles.shape[:-1], self.vocab_size)

    def right(self, batch: Batch, said: Tensor) -> Tensor:
        """Legal moves, and the beginning of the next game after the end of one."""
        may = self.boards(batch.inputs).legal.to(said.device)
        return may.gather(2, said.clamp(min=0)[..., None])[..., 0] & (said != IGNORE)

    def _after(self, positions: Positions, tokens: NDArray[np.int64]) -> tuple[Positions, Bits]:
        """The positions after one more token each, and the legal moves there; whoever must pass has passed."""
        begins = tokens == NEW_GAME
        played = play(positions, _squares(self.size)[tokens], self.size)
        new = start(len(tokens), self.size)
        return turn(choose(begins, new, played), self.size)

    def _may(self, moves: Bits) -> NDArray[np.bool_]:
        """Boards of legal squares (...,) as tokens, (..., vocabulary)."""
        may = np.zeros((*moves.shape, self.vocab_size), bool)
        may[..., FIRST_SQUARE:] = squares(moves, self.size)[..., _squares(self.size)[FIRST_SQUARE:]]
        may[..., NEW_GAME] = moves == 0
        return may

    def _refuse_illegal(self, tokens: NDArray[np.int64], may: NDArray[np.bool_], t: int) -> None:
        inside = (tokens >= 0) & (tokens < self.vocab_size)
        fits = inside & may[np.arange(len(tokens)), np.where(inside, tokens, 0)]
        if not fits.all():
            row = int((~fits).argmax())
            raise InputError(
                f"task 'othello': token {tokens[row]} at position {t} of row {row} is no legal move there, expected "
                f"one of {np.flatnonzero(may[row]).tolist()}"
            )

    def name_of(self, token: int) -> str:
        """A token as players write it: column letter and row number."""
        if token == NEW_GAME:
            return "new"
        row, column = divmod(int(_squares(self.size)[token]), self.size)
        return f"{'abcdefgh'[column]}{row + 1}"

    def example(self, generator: torch.Generator) -> str:
        """A game, and the moves that are legal after it."""
        batch = self.sample(1, self.length // 2, generator)
        may = self.boards(batch.inputs).legal[0, -1].nonzero()[:, 0].tolist()
        said = " ".join(map(self.name_of, batch.inputs[0].tolist()))
        return f"{said}  -> {' or '.join(map(self.name_of, may))}"


@lru_cache
def _squares(size: int) -> NDArray[np.int64]:
    """(vocabulary,): the square of each token; of NEW_GAME, one in the middle, which no one plays on."""
    h = size // 2
    middle = [size * r + c for r in (h - 1, h) for c in (h - 1, h)]
    return np.array([middle[0], *(s for s in range(size**2) if s not in middle)])


@lru_cache
def _tokens(size: int) -> NDArray[np.int64]:
    """(size * size,): the token of each square; NEW_GAME in the middle."""
    tokens = np.zeros(size**2, np.int64)
    tokens[_squares(size)[FIRST_SQUARE:]] = np.arange(FIRST_SQUARE, size**2 - 3)
    return tokens
