"""What the figures share: how they are displayed, and the picture for where no script runs."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import anywidget
import matplotlib.figure
import traitlets

HERE = Path(__file__).parent
VIEW = "application/vnd.jupyter.widget-view+json"


def source(*names: str) -> str:
    """Files that lie beside this one as one text: a page cannot import one script from another."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


class Figure(anywidget.AnyWidget):
    """A figure that a notebook displays: an anywidget that needs no kernel.

    Its script has all that is drawn in two traits, ``spec`` (numbers and words) and ``data`` (long
    arrays, as their bytes), and never calls back.
    """

    alt = ""  # what the picture shows, for someone who cannot see it
    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)

    def __init__(self, spec: dict[str, Any], data: bytes, picture: matplotlib.figure.Figure):
        super().__init__(spec=spec, data=data)
        self._picture = png(picture)

    def _repr_mimebundle_(self, **kwargs):
        """The live view, and for a page its place: the picture, which the view replaces."""
        view = {"model_id": self.model_id, "version_major": 2, "version_minor": 0}
        title = self.spec["title"].replace("\n", " ")
        alt = html.escape(f"{self.alt} {title}".strip())
        place = (
            f'<img class="lth-picture" alt="{alt}" src="data:image/png;base64,{self._picture}">'
            f'<script type="{VIEW}">{json.dumps(view)}</script>'
        )
        return {VIEW: view, "text/html": place, "text/plain": f"{self.alt} {title}".strip()}


def png(picture: matplotlib.figure.Figure) -> str:
    """A picture as base64; it is not shown by itself as those of pyplot are."""
    file = io.BytesIO()
    picture.savefig(file, format="png", dpi=100, facecolor="white")
    return base64.b64encode(file.getvalue()).decode()
