"""Drawings against components that scipy and networkx find."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import CubicHermiteSpline

from seqmem.errors import InputError
from seqmem.tasks.sketches import SKETCHES, Cycles, EdgeLists, RectangularMazes, Strings, get_sketch
from seqmem.tasks.sketches.base import END, INK, NEVER, PAPER, REACHED, START
from seqmem.tasks.sketches.cycles import rings
from seqmem.tasks.sketches.strings import spline


@pytest.mark.parametrize("name", SKETCHES)
def test_every_kind(generator: torch.Generator, name: str) -> None:
    task = get_sketch(name)
    sketch = task.sample(41, generator)
    assert sketch.first.shape == sketch.arrival.shape == (41, *task.shape)
    assert abs(2 * int(sketch.label.sum()) - 41) == 1
    assert sketch.first.min() >= 0
    assert torch.maximum(sketch.first, sketch.reached).max() < task.colours
    frames = sketch.frames(int(sketch.last.max()) + 1)
    new = (frames[:, 1:] != frames[:, :-1]).flatten(2).sum(2)  # (batch, frame)
    for row, last in enumerate(sketch.last.tolist()):
        assert (new[row, :last] > 0).all()  # something in every frame up to the last, then nothing
        assert (new[row, last:] == 0).all()
        assert torch.equal(sketch.frame(sketch.last)[row], frames[row, last])
    assert torch.equal(frames[:, 0], sketch.first)
    a, b = (task.sample(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("nodes", [6, 8, 12])
def test_rings_are_what_networkx_says(nodes: int) -> None:
    found = rings(nodes, torch.tensor([1, 0]))
    for row, parts in enumerate((1, 2)):
        graph = nx.Graph(enumerate(found.after[row].tolist()))
        assert nx.number_connected_components(graph) == parts
        assert all(degree == 2 for _, degree in graph.degree)
        steps = nx.single_source_shortest_path_length(graph, 0)
        assert found.steps[row].tolist() == [steps.get(node, NEVER) for node in range(nodes)]


def test_edge_lists_read_back(generator: torch.Generator) -> None:
    task = EdgeLists(nodes=8, names=10, room=9, stride=2)
    sketch = task.sample(40, generator)
    for row in range(40):
        given = sketch.first[row].tolist()
        assert given[8:] == [[0, 0]]
        (start,) = {name - 10 for edge in given for name in edge if name > 10}
        edges = [tuple(name - 10 * (name > 10) for name in edge) for edge in given[:8]]
        graph = nx.Graph(edges)
        assert nx.number_connected_components(graph) == 2 - int(sketch.label[row])
        steps = nx.single_source_shortest_path_length(graph, start)
        for t in range(4):
            frame = [tuple(edge) for edge in sketch.frame(t)[row].tolist()][:8]
            assert frame == [tuple(n + 10 * (steps.get(n, 99) <= 2 * t) for n in edge) for edge in edges]


def components(mask: np.ndarray, diagonal: bool) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, np.ones((3, 3)) if diagonal else None)


@pytest.mark.parametrize(
    ("task", "least"), [(Cycles(nodes=8), 5), (Cycles(nodes=12), 0), (Strings(nodes=6), 5), (Strings(nodes=10), 1)]
)
def test_lines_are_connected_as_the_label_says(generator: torch.Generator, task: Cycles | Strings, least: int) -> None:
    """One ring is one component of ink; two that do not touch are two, and colour fills the one with the mark."""
    sketch = task.sample(100, generator)
    final = sketch.frame(sketch.last)
    apart = 0
    for first, last, label in zip(sketch.first.numpy(), final.numpy(), sketch.label.tolist(), strict=True):
        part, count = components(first != PAPER, diagonal=True)
        assert np.array_equal(last != PAPER, first != PAPER)
        assert (last == START).sum() == (first == START).sum() > 0
        if label:
            assert count == 1
            assert not (last == INK).any()
        else:
            assert count in (1, 2)
            assert (last == INK).any()
            if count == 2:
                apart += 1
                (marked,) = set(part[first == START].tolist())
                assert np.array_equal(part == marked, (last == REACHED) | (last == START))
    assert apart >= least


def test_cycles_spread_one_node_a_frame(generator: torch.Generator) -> None:
    """What is coloured is connected in every frame, and is done after half a cycle."""
    sketch = Cycles(nodes=8).sample(60, generator)
    assert sketch.last.tolist() == [4 if label else 2 for label in sketch.label.tolist()]
    for t in range(4):
        frame = sketch.frame(t).numpy()
        for drawing in frame:
            assert components((drawing == REACHED) | (drawing == START), diagonal=True)[1] == 1
    slower = Cycles(nodes=12, stride=2).sample(40, generator)
    assert slower.last.tolist() == [3 if label else 2 for label in slower.label.tolist()]


def test_splines_are_scipys(generator: torch.Generator) -> None:
    point = torch.rand(2, 8, 2, generator=generator, dtype=torch.float64)
    after = rings(8, torch.tensor([1, 0])).after
    curve = spline(point, after, 7)
    for row in range(2):
        before = {b: a for a, b in enumerate(after[row].tolist())}
        tangent = [(point[row, after[row, i]] - point[row, before[i]]).numpy() / 2 for i in range(8)]
        for i in range(8):
            j = int(after[row, i])
            oracle = CubicHermiteSpline([0, 1], point[row, [i, j]].numpy(), np.stack([tangent[i], tangent[j]]))
            np.testing.assert_allclose(curve[row, i].numpy(), oracle(np.linspace(0, 1, 7)), atol=1e-12)


def test_strings_are_coloured_by_length(generator: torch.Generator) -> None:
    """With half the pace it takes twice the frames, to rounding; the longest string sets the last."""
    fast, slow = (Strings(pace=pace).sample(50, torch.Generator().manual_seed(1)) for pace in (16, 8))
    assert torch.equal(fast.first, slow.first)
    there = slow.arrival < NEVER
    assert torch.equal((slow.arrival[there] + 1) // 2, fast.arrival[there])


@pytest.mark.parametrize("name", ["rectangular_mazes", "circular_mazes"])
def test_mazes_are_open_where_the_label_says(generator: torch.Generator, name: str) -> None:
    sketch = get_sketch(name).sample(100, generator)
    final = sketch.frame(sketch.last)
    for first, last, label in zip(sketch.first.numpy(), final.numpy(), sketch.label.tolist(), strict=True):
        part, count = components(first != INK, diagonal=False)
        (start,) = set(part[first == START].tolist())
        ends = set(part[first == END].tolist())
        assert (start in ends) == bool(label)
        assert count == 2 + (len(ends) - 1)  # one wall of a tree is closed; the corners outside a ring are cut off
        assert np.array_equal(np.isin(last, (REACHED, START)), part == start)


def test_walls_tell_nothing(generator: torch.Generator) -> None:
    """As many are closed with a way as without."""
    sketch = RectangularMazes().sample(200, generator)
    steps = {label: (sketch.first[sketch.label == label] == INK).flatten(1).sum(1).float() for label in (0, 1)}
    assert float(steps[0].mean()) == pytest.approx(float(steps[1].mean()), rel=0.002)


def test_rectangular_mazes_cell_by_cell(generator: torch.Generator) -> None:
    """Cells and openings read off the image; distances by networkx."""
    task = RectangularMazes(rows=5, size=31, stride=3)  # walls at 0, 6, 12, ...
    sketch = task.sample(30, generator)
    for row in range(30):
        image, arrival = sketch.first[row], sketch.arrival[row]
        graph = nx.empty_graph(25)
        for r in range(5):
            for c in range(5):
                if c < 4 and image[6 * r + 3, 6 * c + 6] != INK:
                    graph.add_edge(5 * r + c, 5 * r + c + 1)
                if r < 4 and image[6 * r + 6, 6 * c + 3] != INK:
                    graph.add_edge(5 * r + c, 5 * r + c + 5)
        middle = image[3::6, 3::6].flatten().tolist()
        steps = nx.single_source_shortest_path_length(graph, middle.index(START))
        found = arrival[3::6, 3::6].flatten().tolist()
        assert found == [-(-steps[cell] // 3) if cell in steps else NEVER for cell in range(25)]
        assert (middle.index(END) in steps) == bool(sketch.label[row])
        assert nx.is_forest(graph)
        assert nx.number_connected_components(graph) == 2


def test_bad_options_say_so(generator: torch.Generator) -> None:
    for name, options, says in (
        ("cycle", {}, "Did you mean 'cycles'"),
        ("cycles", {"node": 8}, "Did you mean 'nodes'"),
        ("cycles", {"nodes": 7}, "nodes=7 is odd"),
        ("cycles", {"nodes": 4}, "nodes=4, expected at least 6"),
        ("cycles", {"nodes": 18}, "expected at most slots=12"),
        ("edge_lists", {"nodes": 14}, "expected at most names=16 and room=12"),
        ("strings", {"nodes": 80}, "too many for size=48, expected at most 64"),
        ("rectangular_mazes", {"size": 20}, "expected at least 22 for rows=7"),
        ("circular_mazes", {"sectors": 30}, "for rings=3 and sectors=30"),
    ):
        with pytest.raises(InputError) as error:
            get_sketch(name, **options)
        assert says in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="batch_size=0"):
        Cycles().sample(0, generator)
