"""One pass over a matrix state: several outer products are written, then several vectors read it.

    S = decay S + sum_n x_n y_n^T,        z_m = S^T r_m

It is where the ops with a matrix as state spend their time. Taking several steps of time in one pass loads and stores
every number of the state once for all of them. In a kernel the pass is written in LLVM's vector types: a panel of
columns at a time, whose y and z stay in registers while the rows go by. As plain Python (``NUMBA_DISABLE_JIT=1``) it is
NumPy's.
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
        emit(builder, pointers, *sizes)
        return context.get_dummy_value()

    return types.void(S, decay, x, y, r, z, rows, columns, writes, reads, per_row), code


def emit(builder: Any, pointers: list[Any], rows: int, columns: int, writes: int, reads: int, per_row: int) -> None:
    """The loops of :func:`sweep`."""
    S, decay, x, y, r, z = pointers
    number = S.type.pointee
    size = 4 if isinstance(number, ir.FloatType) else 8
    lanes, stride, index = VECTOR_BYTES // size, padded(rows), ir.IntType(64)
    vector = ir.VectorType(number, lanes)
    # vectors of columns in a panel: y, z, S and the decay of each stay in registers, two are left for factors
    panel = max(1, (REGISTERS - 2) // (writes + reads + 2))
    panel = next(n for n in (4, 2, 1) if n <= panel)

    def at(pointer: Any, offset: Any) -> Any:
        return builder.gep(pointer, [offset if isinstance(offset, ir.Value) else index(offset)], inbounds=True)

    def load(pointer: Any, offset: Any) -> Any:
        return builder.load(builder.bitcast(at(pointer, offset), vector.as_pointer()), align=size)

    def store(value: Any, pointer: Any, offset: Any) -> None:
        builder.store(value, builder.bitcast(at(pointer, offset), vector.as_pointer()), align=size)

    def spread(pointer: Any, offset: Any) -> Any:
        """The number there in every lane."""
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), builder.load(at(pointer, offset)), index(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))

    def product(a: Any, b: Any) -> Any:
        return builder.fmul(a, b, flags=("contract",))

    def add_product(c: Any, a: Any, b: Any) -> Any:
        return builder.fadd(c, product(a, b), flags=("contract",))

    def columns_from(begin: Any, width: int) -> None:
        offsets = [builder.add(begin, index(n * lanes)) for n in range(width)]
        ys = [[load(y, builder.add(offset, index(n * columns))) for offset in offsets] for n in range(writes)]
        zs = [[cgutils.alloca_once(builder, vector) for _ in offsets] for _ in range(reads)]
        zero = ir.Constant(vector, [0.0] * lanes)
        for slot in (slot for row in zs for slot in row):
            builder.store(zero, slot)
        if not per_row:
            decays = [load(decay, offset) for offset in offsets]
        with cgutils.for_range(builder, index(rows)) as loop:
            i = loop.index
            places = [builder.add(builder.mul(i, index(columns)), offset) for offset in offsets]
            factors = [spread(decay, i)] * width if per_row else decays
            state = [product(factor, load(S, place)) for factor, place in zip(factors, places, strict=True)]
            for n in range(writes):
                factor = spread(x, builder.add(i, index(n * stride)))
                state = [add_product(c, factor, value) for c, value in zip(state, ys[n], strict=True)]
            for c, place in zip(state, places, strict=True):
                store(c, S, place)
            for n in range(reads):
                factor = spread(r, builder.add(i, index(n * stride)))
                for c, slot in zip(state, zs[n], strict=True):
                    builder.store(add_product(builder.load(slot), factor, c), slot)
        for n in range(reads):
            for slot, offset in zip(zs[n], offsets, strict=True):
                store(builder.load(slot), z, builder.add(offset, index(n * columns)))

    whole, rest = divmod(columns // lanes, panel)
    with cgutils.for_range(builder, index(whole)) as loop:
        columns_from(builder.mul(loop.index, index(panel * lanes)), panel)
    for n in range(rest):
        columns_from(index((whole * panel + n) * lanes), 1)
