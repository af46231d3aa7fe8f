"""report.html: one self-contained page with the numbers, the reject reasons, and the plots."""

import re
from datetime import date
from importlib.resources import files
from typing import Any

import pyarrow as pa
from bokeh.embed import components
from bokeh.models import HoverTool, NumeralTickFormatter
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment

from daskjobs.orders import amount_text

BARS = 20  # the most that one plot shows
COLOR = "#2b6cb0"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def page(revenue: int, quality: dict[str, Any], summary: pa.Table) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it."""
    lines: dict[str, list[dict[str, Any]]] = {"day": [], "region": [], "product": []}
    for line in summary.to_pylist():
        lines[line["dimension"]].append({**line, "revenue": float(line["revenue"])})
    plots = {"Revenue by day": _days(lines["day"]), "Revenue by region": _bars(lines["region"]), "Revenue by product": _bars(lines["product"])}
    script, divs = components(plots) if summary.num_rows else ("", {})
    template = Environment(autoescape=True).from_string((files("daskjobs") / "page.html.j2").read_text("utf-8"))
    html = template.render(
        revenue_text=_grouped(revenue),
        quality=quality,
        bokeh=Resources(mode="inline", components=["bokeh"]).render_js() if divs else "",
        script=script,
        plots=divs,
        many=[name for name in ("region", "product") if len(lines[name]) > BARS],
        bars=BARS,
    )
    return _fixed_ids(html).encode()


def _grouped(cents: int) -> str:
    whole, fraction = amount_text(cents).split(".")
    return f"{int(whole):,}.{fraction}" if not whole.startswith("-0") else f"{whole}.{fraction}"


def _fixed_ids(html: str) -> str:
    """Number the random ids that bokeh gives its elements, so that the same report is the same bytes."""
    ids: dict[str, str] = {}
    return _UUID.sub(lambda match: ids.setdefault(match[0], f"plot-{len(ids)}"), html)


def _days(lines: list[dict[str, Any]]) -> figure:
    plot = _figure(x_axis_type="datetime")
    source = {"x": [date.fromisoformat(line["value"]) for line in lines], "y": [line["revenue"] for line in lines], "orders": [line["orders"] for line in lines]}
    plot.line("x", "y", source=source, color=COLOR, line_width=2)
    plot.scatter("x", "y", source=source, color=COLOR, size=4, alpha=0.4)
    plot.add_tools(HoverTool(tooltips=[("day", "@x{%F}"), ("revenue", "@y{0,0.00}"), ("orders", "@orders{0,0}")], formatters={"@x": "datetime"}))
    plot.yaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    plot.y_range.start = 0
    return plot


def _bars(lines: list[dict[str, Any]]) -> figure:
    most = sorted(lines, key=lambda line: (-line["revenue"], line["value"]))[:BARS][::-1]
    names = [line["value"] or "(empty)" for line in most]
    plot = _figure(y_range=names, height=90 + 24 * len(names))
    source = {"y": names, "right": [line["revenue"] for line in most], "orders": [line["orders"] for line in most]}
    plot.hbar(y="y", right="right", source=source, height=0.7, color=COLOR)
    plot.add_tools(HoverTool(tooltips=[("", "@y"), ("revenue", "@right{0,0.00}"), ("orders", "@orders{0,0}")]))
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    plot.x_range.start = 0
    plot.ygrid.visible = False
    return plot


def _figure(**options: Any) -> figure:
    plot = figure(**{"height": 280, "sizing_mode": "stretch_width", "toolbar_location": None, "tools": "", **options})
    plot.outline_line_color = None
    return plot
