"""The page of ``seqmem eval``: for each task a map of length and depth, and one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from seqmem.report import heat
from seqmem.report.format import short_number
from seqmem.report.page import render


def share_text(cell: Mapping[str, Any] | None) -> str:
    """``0.84 (0.65–0.94)``; a dash where nothing was measured."""
    if cell is None:
        return "–"
    return f"{cell['right'] / cell['count']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})"


def eval_page(result: Mapping[str, Any]) -> str:
    """The page as text. result: what ``eval.json`` holds."""
    found = {(cell["task"], cell["length"]): cell for cell in result["cells"]}
    maps = []
    for task in result["tasks"]:
        cells = [cell for length in result["lengths"] if (cell := found.get((task["name"], length)))]
        if cells:
            svg = heat_map(cells, f"{task['name']}: right answers by length and depth")
            maps.append({"title": task["name"], "text": f"chance {short_number(task['chance'])}", "svg": svg})
    documents = result["samples"] * len(result["depths"])
    planned = len(result["tasks"]) * len(result["lengths"])
    return render(
        "eval.html.jinja",
        title=f"What {result['model']} finds in a text",
        lead=f"{documents} documents per task and length, {result['samples']} at each of {len(result['depths'])} "
        f"depth{'s' if len(result['depths']) != 1 else ''}, read with {result['reads']}.",
        missing=planned - len(result["cells"]),
        lengths=[f"{length:,}" for length in result["lengths"]],
        rows=[
            {
                "name": task["name"],
                "summary": task["summary"],
                "chance": short_number(task["chance"]),
                "cells": [_cell(found.get((task["name"], length))) for length in result["lengths"]],
            }
            for task in result["tasks"]
        ],
        maps=maps,
        examples=result["tasks"],
        settings=yaml.safe_dump(_settings(result), sort_keys=False, allow_unicode=True),
        footer="Made by seqmem eval.",
    )


def heat_map(cells: Sequence[Mapping[str, Any]], title: str) -> str:
    """One task: a column per length, a row per depth, the beginning of the text on top; the number is the share of
    right answers."""
    depths = [row["depth"] for row in cells[0]["depths"]]
    boxes = {}
    for x, cell in enumerate(cells):
        for y, row in enumerate(cell["depths"]):
            share = row["right"] / row["count"]
            boxes[x, y] = heat.Box(share, f"{share:.2f}", cell["task"], _tip(cell, row))
    return heat.heat_map(
        boxes,
        [f"{cell['length']:,}" for cell in cells],
        [f"{depth:.2f}".rstrip("0").rstrip(".") for depth in depths],
        title,
        x_label="tokens of prompt and answer",
        y_label="depth of the fact (0: beginning)",
        size=(5.2, 1.0 + 0.42 * len(depths)),
    )


def _tip(cell: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    loss = "" if row["nats"] is None or not math.isfinite(row["nats"]) else f"; {row['nats']:.2f} nats per answer token"
    return (
        f"{cell['length']:,} tokens, depth {row['depth']:.2f}: {row['right']} of {row['count']} right, "
        f"95 % interval {row['low']:.2f} to {row['high']:.2f}{loss}"
    )


def _cell(cell: Mapping[str, Any] | None) -> dict[str, str]:
    if cell is None:
        return {"value": "–", "interval": ""}
    return {"value": f"{cell['right'] / cell['count']:.2f}", "interval": f"{cell['low']:.2f} to {cell['high']:.2f}"}


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, as lists and numbers that YAML can show."""
    told = {key: result[key] for key in ("model", "reads", "lengths", "depths", "samples", "seed", "versions")}
    told["tasks"] = {
        task["name"]: {k: list(v) if isinstance(v, tuple) else v for k, v in task["options"].items()}
        for task in result["tasks"]
    }
    told["seconds"] = round(sum(cell["seconds"] for cell in result["cells"]), 1)
    told["tokens read"] = sum(cell["tokens"] for cell in result["cells"])
    return told
