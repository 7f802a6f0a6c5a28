"""The plot: a panel for each row, a bar for each contender, a line for the target."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .measuring import Result

OURS, OTHERS, TARGET = "#1a7f5a", "#9aa5b1", "#c0392b"
ACROSS = 2


def draw(path: Path, results: list[Result]) -> None:
    """Draw the figure that each row stands for, as SVG."""
    down = ceil(len(results) / ACROSS)
    figure = Figure(figsize=(6 * ACROSS, 2.6 * down), layout="constrained")
    panels = list(figure.subplots(down, ACROSS, squeeze=False).flat)
    for panel, result in zip(panels, results, strict=False):
        fill(panel, result)
    for panel in panels[len(results) :]:
        panel.remove()
    with rc_context({"svg.fonttype": "none"}):  # text stays text
        figure.savefig(path, metadata={"Date": None})


def fill(panel: Axes, result: Result) -> None:
    row = result.row
    names = list(reversed(result.figures))
    spreads = [result.figures[name][row.figure] for name in names]
    middles = [spread.middle for spread in spreads]
    below = [spread.middle - spread.low for spread in spreads]
    above = [spread.high - spread.middle for spread in spreads]
    panel.barh(
        [result.labels[name] for name in names],
        middles,
        xerr=[below, above],
        color=[OURS if name == "ours" else OTHERS for name in names],
        ecolor="#333333",
    )
    for target in row.targets:
        if target.figure == row.figure:
            panel.axvline(target.limit, color=TARGET, linestyle="--", linewidth=1)
    if max(middles) > 20 * min(middles) > 0:
        panel.set_xscale("log")
    panel.set_title(f"{row.letter}: {row.title}", fontsize=8, loc="left", wrap=True)
    panel.set_xlabel(row.figure.name, fontsize=8)
    panel.tick_params(labelsize=8)
