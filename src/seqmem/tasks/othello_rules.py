"""The rules of Othello on boards of 4x4, 6x6 and 8x8, for many games at once.

A board is a 64-bit number, square ``size * row + column`` being its bit of that value; a position is a pair of them,
the discs of the player to move and the other's. numpy works on all positions and all eight directions together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmem.errors import InputError

SIZES = (4, 6, 8)
#: unsigned and little-endian, whatever the machine: the bits are unpacked by bytes
BITS = np.dtype("<u8")

Bits = NDArray[np.uint64]


class Positions(NamedTuple):
    """mine, yours: (game,) discs of the player to move and of the other. black: (game,) bool, whether black moves."""

    mine: Bits
    yours: Bits
    black: NDArray[np.bool_]


def choose(where: NDArray[np.bool_], a: Positions, b: Positions) -> Positions:
    """The positions of ``a`` where it is so, else those of ``b``."""
    return Positions(
        np.where(where, a.mine, b.mine), np.where(where, a.yours, b.yours), np.where(where, a.black, b.black)
    )


def _rows(positions: Positions, rows: NDArray[Any]) -> Positions:
    return Positions(positions.mine[rows], positions.yours[rows], positions.black[rows])


def _other(positions: Positions) -> Positions:
    """The other player to move on the same board."""
    return Positions(positions.yours, positions.mine, ~positions.black)


class _Steps(NamedTuple):
    """One step in each direction, (8, 1) each: ``((x << left) >> right) & onto``."""

    left: Bits
    right: Bits
    onto: Bits


@lru_cache
def _steps(size: int) -> _Steps:
    if size not in SIZES:
        raise InputError(f"size={size!r}, expected one of {', '.join(map(str, SIZES))}: boards of so many rows")
    left, right, onto = [], [], []
    for down in (-1, 0, 1):
        for along in (-1, 0, 1):
            by = size * down + along
            if by:
                left.append(max(by, 0))
                right.append(max(-by, 0))
                ends = [c for c in range(size) if 0 <= c - along < size]  # columns that a step can end in
                onto.append(sum(1 << (size * r + c) for r in range(size) for c in ends))
    return _Steps(*(np.array(values, BITS)[:, None] for values in (left, right, onto)))


def _step(x: Bits, size: int) -> Bits:
    """Every disc of (8, game) boards one square on, each board in its direction; those that leave it are gone."""
    steps = _steps(size)
    return ((x << steps.left) >> steps.right) & steps.onto


def _lines(start: Bits, through: Bits, size: int) -> Bits:
    """(8, game): the squares of ``through`` that a line from ``start`` runs over without a gap, in each direction."""
    line = _step(start[None], size) & through
    for _ in range(size - 3):
        line |= _step(line, size) & through
    return line


def start(games: int, size: int = 8) -> Positions:
    """The four discs in the middle, black to move: black on the diagonal that rises to the right."""
    _steps(size)
    h = size // 2
    black = (1 << (size * (h - 1) + h)) | (1 << (size * h + h - 1))
    white = (1 << (size * (h - 1) + h - 1)) | (1 << (size * h + h))
    return Positions(np.full(games, black, BITS), np.full(games, white, BITS), np.ones(games, bool))


def legal(positions: Positions, size: int = 8) -> Bits:
    """(game,) squares on which the player to move may put a disc: empty ones that enclose a line of the other's."""
    lines = _lines(positions.mine, positions.yours, size)
    ends = np.bitwise_or.reduce(_step(lines, size), 0)
    return ends & ~(positions.mine | positions.yours)


def play(positions: Positions, square: NDArray[np.int64], size: int = 8) -> Positions:
    """A disc on ``square``, (game,), which must be legal; the enclosed discs change sides, and the other is to move."""
    disc = (np.ones((), BITS) << square.astype(BITS)).astype(BITS)
    lines = _lines(disc, positions.yours, size)
    closed = (_step(lines, size) & positions.mine) != 0  # (8, game)
    # a line is a run from the disc on, so it is closed or not as a whole: one step beyond its end lies one square
    flipped = np.bitwise_or.reduce(np.where(closed, lines, 0).astype(BITS), 0)
    return Positions(positions.yours & ~flipped, positions.mine | flipped | disc, ~positions.black)


def turn(positions: Positions, size: int = 8) -> tuple[Positions, Bits]:
    """Who moves and where: a player who cannot move passes. No square at all: the game is over."""
    moves = legal(positions, size)
    stuck = moves == 0
    if stuck.any():
        other = _other(positions)
        others = legal(_rows(other, stuck), size)
        passes = stuck.copy()
        passes[stuck] = others != 0
        moves[stuck] = others
        positions = choose(passes, other, positions)
    return positions, moves


def squares(boards: Bits, size: int = 8) -> NDArray[np.bool_]:
    """(..., size * size) bool: the squares of each board, row by row."""
    given = np.ascontiguousarray(boards, BITS)
    bits = np.unpackbits(given.view(np.uint8).reshape(*given.shape, 8), axis=-1, bitorder="little")
    return bits[..., : size * size].astype(bool)


def perft(depth: int, size: int = 8) -> int:
    """How many sequences of ``depth`` moves the game has, a pass that is forced being a move of its own and one that
    ends the game none; the usual test of a generator of moves."""
    positions = start(1, size)
    for _ in range(depth):
        moves = legal(positions, size)
        other = _other(positions)
        passes = (moves == 0) & (legal(other, size) != 0)
        row, square = squares(moves, size).nonzero()
        played = play(_rows(positions, row), square, size)
        passing = _rows(other, passes)
        positions = Positions(
            np.concatenate([played.mine, passing.mine]),
            np.concatenate([played.yours, passing.yours]),
            np.concatenate([played.black, passing.black]),
        )
    return len(positions.mine)
