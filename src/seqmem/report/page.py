"""What all pages share: the template that they extend, and its colours."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

# twelve hues that stay apart on white and on near-black, the first six as far apart as can be
LIGHT = (
    "#0b62c4", "#d1495b", "#2e8b57", "#e08e0b", "#7b4fc9", "#0f8b9d",
    "#8a5a2b", "#c2379a", "#5f7a1f", "#4a5a6a", "#b8860b", "#3949ab",
)  # fmt: skip
DARK = (
    "#5aa9ff", "#ff7b8a", "#59c98b", "#ffb84d", "#b396ff", "#4fc6d8",
    "#d09a63", "#f07ccd", "#a6c452", "#a3b3c4", "#e0b84a", "#8c9eff",
)  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A self-contained page, from a template in ``templates/``. Values are escaped unless the template says not to."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: (resources.files("seqmem.report") / "templates" / name).read_text("utf-8")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(colours_light=LIGHT, colours_dark=DARK, **values)
