"""One pass over a matrix state: several outer products are written, then several vectors read it.

    S = decay S + sum_n x_n y_n^T,        z_m = S^T r_m

It is where the ops with a matrix as state spend their time. Taking several steps of time in one pass loads and stores
every number of the state once for all of them. What the steps of one such block read of each other's writes is
``recall``:

    z_n += sum_{m < count} <r_n, x_m> y_m

In a kernel both are written in LLVM's vector types: the pass takes a panel of columns at a time, whose y and z stay in
registers while the rows go by. As plain Python (``NUMBA_DISABLE_JIT=1``) they are NumPy's.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

WIDE = llvm.get_host_cpu_features().get("avx512f", False)
VECTOR_BYTES, REGISTERS = (64, 32) if WIDE else (32, 16)
LINE = 64  # bytes of a cache line


def padded(size: int) -> int:
    """Columns of a state's row in memory: whole vectors, so that no loop over columns has a remainder."""
    return -(-size // 16) * 16


@njit
def aligned(rows, columns, like):  # type: ignore[no-untyped-def]
    """Zeros (rows, columns) that begin with a cache line, so that no vector lies across two."""
    block = np.zeros(rows * columns + LINE // like.itemsize, like.dtype)
    begin = (-block.ctypes.data) % LINE // like.itemsize
    return block[begin : begin + rows * columns].reshape(rows, columns)


def sweep(S, decay, x, y, r, z, rows, columns, writes, reads, per_row):  # type: ignore[no-untyped-def]
    """S = decay S + sum x y^T, then z = S^T r, of contiguous arrays: S (rows, columns); x (writes, padded rows), y
    (writes, columns); r (reads, padded rows), z (reads, columns); decay (1, at least rows) if ``per_row`` else
    (1, columns). The five sizes are constants of the kernel; columns = padded(columns)."""
    S[:] = (decay[0, :rows, None] if per_row else decay) * S + x[:, :rows].T @ y
    z[:] = r[:, :rows] @ S


def recall(z, n, r, x, y, count, rows, columns):  # type: ignore[no-untyped-def]
    """z_n += sum over m < count of <r_n, x_m> y_m, of contiguous arrays: z and y (steps, columns), r and x (steps,
    rows). The sizes are constants of the kernel and whole vectors; z is none of the others."""
    z[n] += (x[:count] @ r[n]) @ y[:count]


def move(target, at, source, begin, size):  # type: ignore[no-untyped-def]
    """target[at : at + size] = source[begin : begin + size], of contiguous arrays read as flat; ``size`` is a constant
    of the kernel."""
    target.reshape(-1)[at : at + size] = source.reshape(-1)[begin : begin + size]


@overload(sweep, prefer_literal=True)
def _sweep_in_kernel(S, decay, x, y, r, z, rows, columns, writes, reads, per_row):  # type: ignore[no-untyped-def]
    def implementation(S, decay, x, y, r, z, rows, columns, writes, reads, per_row):  # type: ignore[no-untyped-def]
        _sweep(S, decay, x, y, r, z, rows, columns, writes, reads, per_row)

    return implementation


@intrinsic(prefer_literal=True)
def _sweep(typing_context, S, decay, x, y, r, z, rows, columns, writes, reads, per_row):  # type: ignore[no-untyped-def]
    sizes = [size.literal_value for size in (rows, columns, writes, reads, per_row)]

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = zip(signature.args[:6], arguments[:6], strict=True)
        pointers = [context.make_array(kind)(context, builder, value).data for kind, value in arrays]
        emit_sweep(builder, pointers, *sizes)
        return context.get_dummy_value()

    return types.void(S, decay, x, y, r, z, rows, columns, writes, reads, per_row), code


@overload(recall, prefer_literal=True)
def _recall_in_kernel(z, n, r, x, y, count, rows, columns):  # type: ignore[no-untyped-def]
    def implementation(z, n, r, x, y, count, rows, columns):  # type: ignore[no-untyped-def]
        _recall(z, n, r, x, y, count, rows, columns)

    return implementation


@intrinsic(prefer_literal=True)
def _recall(typing_context, z, n, r, x, y, count, rows, columns):  # type: ignore[no-untyped-def]
    sizes = rows.literal_value, columns.literal_value
    index = types.intp

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = list(zip(signature.args, arguments, strict=True))
        z_, r_, x_, y_ = (context.make_array(given[i][0])(context, builder, given[i][1]).data for i in (0, 2, 3, 4))
        n_, count_ = (context.cast(builder, given[i][1], given[i][0], index) for i in (1, 5))
        emit_recall(builder, z_, r_, x_, y_, n_, count_, *sizes)
        return context.get_dummy_value()

    return types.void(z, n, r, x, y, count, rows, columns), code


@overload(move, prefer_literal=True)
def _move_in_kernel(target, at, source, begin, size):  # type: ignore[no-untyped-def]
    def implementation(target, at, source, begin, size):  # type: ignore[no-untyped-def]
        _move(target, at, source, begin, size)

    return implementation


@intrinsic(prefer_literal=True)
def _move(typing_context, target, at, source, begin, size):  # type: ignore[no-untyped-def]
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places = []
        for k in (0, 2):
            data = context.make_array(signature.args[k])(context, builder, arguments[k]).data
            offset = context.cast(builder, arguments[k + 1], signature.args[k + 1], types.intp)
            places.append(builder.gep(data, [offset], inbounds=True))
        bytes_ = INDEX(size.literal_value * (4 if target.dtype == types.float32 else 8))
        to, origin = places
        cgutils.raw_memcpy(builder, to, origin, bytes_, 1)
        return context.get_dummy_value()

    return types.void(target, at, source, begin, size), code


INDEX = ir.IntType(64)


class Vectors:
    """Vector instructions on numbers of one type: what LLVM's builder says in several lines each."""

    def __init__(self, builder: Any, number: Any) -> None:
        self.builder, self.size = builder, 4 if isinstance(number, ir.FloatType) else 8
        self.lanes = VECTOR_BYTES // self.size
        self.type = ir.VectorType(number, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def at(self, pointer: Any, offset: Any) -> Any:
        return self.builder.gep(pointer, [offset], inbounds=True)

    def load(self, pointer: Any, offset: Any) -> Any:
        place = self.builder.bitcast(self.at(pointer, offset), self.type.as_pointer())
        return self.builder.load(place, align=self.size)

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        place = self.builder.bitcast(self.at(pointer, offset), self.type.as_pointer())
        self.builder.store(value, place, align=self.size)

    def spread(self, number: Any) -> Any:
        """The number in every lane."""
        one = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), number, INDEX(0))
        nowhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, one, nowhere)

    def product(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=("contract",))

    def add_product(self, c: Any, a: Any, b: Any) -> Any:
        return self.builder.fadd(c, self.product(a, b), flags=("contract",))

    def total(self, a: Any) -> Any:
        """The sum over the lanes, by halves."""
        while a.type.count > 1:
            half = a.type.count // 2
            places = [ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(k, k + half))) for k in (0, half)]
            a = self.builder.fadd(*(self.builder.shuffle_vector(a, a, place) for place in places))
        return self.builder.extract_element(a, INDEX(0))


def emit_sweep(
    builder: Any, pointers: list[Any], rows: int, columns: int, writes: int, reads: int, per_row: int
) -> None:
    """The loops of :func:`sweep`."""
    S, decay, x, y, r, z = pointers
    v, stride = Vectors(builder, S.type.pointee), padded(rows)
    # vectors of columns in a panel: y, z, S and the decay of each stay in registers, two are left for factors
    most = max(1, (REGISTERS - 2) // (writes + reads + 2))
    panel = next(width for width in (4, 2, 1) if width <= most)

    def columns_from(begin: Any, width: int) -> None:
        offsets = [builder.add(begin, INDEX(n * v.lanes)) for n in range(width)]
        ys = [[v.load(y, builder.add(offset, INDEX(n * columns))) for offset in offsets] for n in range(writes)]
        zs = [[cgutils.alloca_once(builder, v.type) for _ in offsets] for _ in range(reads)]
        for slot in (slot for row in zs for slot in row):
            builder.store(v.zero, slot)
        decays = [] if per_row else [v.load(decay, offset) for offset in offsets]
        with cgutils.for_range(builder, INDEX(rows)) as loop:

            def factor(pointer: Any, n: int) -> Any:
                return v.spread(builder.load(v.at(pointer, builder.add(loop.index, INDEX(n * stride)))))

            places = [builder.add(builder.mul(loop.index, INDEX(columns)), offset) for offset in offsets]
            by = [factor(decay, 0)] * width if per_row else decays
            state = [v.product(a, v.load(S, place)) for a, place in zip(by, places, strict=True)]
            for n in range(writes):
                xn = factor(x, n)
                state = [v.add_product(c, xn, yn) for c, yn in zip(state, ys[n], strict=True)]
            for c, place in zip(state, places, strict=True):
                v.store(c, S, place)
            for n in range(reads):
                rn = factor(r, n)
                for c, slot in zip(state, zs[n], strict=True):
                    builder.store(v.add_product(builder.load(slot), rn, c), slot)
        for n in range(reads):
            for slot, offset in zip(zs[n], offsets, strict=True):
                v.store(builder.load(slot), z, builder.add(offset, INDEX(n * columns)))

    whole, rest = divmod(columns // v.lanes, panel)
    with cgutils.for_range(builder, INDEX(whole)) as loop:
        columns_from(builder.mul(loop.index, INDEX(panel * v.lanes)), panel)
    for n in range(rest):
        columns_from(INDEX((whole * panel + n) * v.lanes), 1)


def emit_recall(builder: Any, z: Any, r: Any, x: Any, y: Any, n: Any, count: Any, rows: int, columns: int) -> None:
    """The loop of :func:`recall`."""
    v = Vectors(builder, z.type.pointee)

    def row(m: Any, size: int) -> list[Any]:
        begin = builder.mul(m, INDEX(size))
        return [builder.add(begin, INDEX(k)) for k in range(0, size, v.lanes)]

    rn = [v.load(r, place) for place in row(n, rows)]
    zn = [cgutils.alloca_once(builder, v.type) for _ in row(n, columns)]
    for slot, place in zip(zn, row(n, columns), strict=True):
        builder.store(v.load(z, place), slot)
    with cgutils.for_range(builder, count) as loop:
        sums = [v.zero, v.zero]
        for k, (a, place) in enumerate(zip(rn, row(loop.index, rows), strict=True)):
            sums[k % 2] = v.add_product(sums[k % 2], a, v.load(x, place))
        match = v.spread(v.total(builder.fadd(*sums)))
        for slot, place in zip(zn, row(loop.index, columns), strict=True):
            builder.store(v.add_product(builder.load(slot), match, v.load(y, place)), slot)
    for slot, place in zip(zn, row(n, columns), strict=True):
        v.store(builder.load(slot), z, place)
