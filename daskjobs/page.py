"""report.html: one self-contained page with the numbers, the reject reasons, and the plots."""

import re
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
from bokeh.embed import components
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment

from daskjobs.orders import amount_text

BARS = 20  # the most that one plot shows
COLOR = "#2b6cb0"
SHORT = "0.[0]a"  # 1.2m
TOOLTIPS = [("revenue", "@revenue{0,0.00}"), ("orders", "@orders{0,0}")]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def page(revenue: int, quality: dict[str, Any], summary: pa.Table, resources: dict[str, Any]) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it.

    ``resources``, as in validate/run.json, are a section of their own, the only one in which two runs of the same data
    differ.
    """
    lines: dict[str, list[dict[str, Any]]] = {"day": [], "region": [], "product": []}
    for line in summary.to_pylist():
        lines[line["dimension"]].append({**line, "revenue": float(line["revenue"])})
    plots = {
        "Revenue by day": _days(lines["day"]),
        "Revenue by region": _bars(lines["region"]),
        "Revenue by product": _bars(lines["product"]),
    }
    script, divs = components(dict(plots)) if summary.num_rows else ("", {})
    template = Environment(autoescape=True).from_string((files("daskjobs") / "page.html.j2").read_text("utf-8"))
    html = template.render(
        revenue_text=_grouped(revenue),
        quality=quality,
        bokeh=Resources(mode="inline", components=["bokeh"]).render_js() if divs else "",
        script=script,
        plots=divs,
        many=[name for name in ("region", "product") if len(lines[name]) > BARS],
        bars=BARS,
        resources=resources,
    )
    return _fixed_ids(html, summary["value"].to_pylist()).encode()


def _grouped(cents: int) -> str:
    whole, fraction = amount_text(cents).split(".")
    return f"{int(whole):,}.{fraction}" if not whole.startswith("-0") else f"{whole}.{fraction}"


def _fixed_ids(html: str, names: list[str]) -> str:
    """Number the random ids that bokeh gives its elements, so that the same report is the same bytes.

    An id that stands in ``names`` is the user's own.
    """
    ids = dict.fromkeys(_UUID.findall(" ".join(names)))
    fixed: dict[str, str] = {}
    return _UUID.sub(
        lambda found: found[0] if found[0] in ids else fixed.setdefault(found[0], f"plot-{len(fixed)}"), html
    )


def _days(lines: list[dict[str, Any]]) -> figure:
    plot = _figure(x_axis_type="datetime", y_range=DataRange1d(start=0))
    source = _source(lines, np.array([line["value"] for line in lines], "datetime64[ms]"))
    plot.line("value", "revenue", source=source, color=COLOR, line_width=2)
    plot.scatter("value", "revenue", source=source, color=COLOR, size=4, alpha=0.4)
    plot.add_tools(HoverTool(tooltips=[("day", "@value{%F}"), *TOOLTIPS], formatters={"@value": "datetime"}))
    plot.yaxis.formatter = NumeralTickFormatter(format=SHORT)
    return plot


def _bars(lines: list[dict[str, Any]]) -> figure:
    most = sorted(lines, key=lambda line: (-line["revenue"], line["value"]))[:BARS][::-1]
    names = [line["value"] or "(empty)" for line in most]
    plot = _figure(y_range=names, x_range=DataRange1d(start=0), height=90 + 24 * len(names))
    plot.hbar(y="value", right="revenue", source=_source(most, names), height=0.7, color=COLOR)
    plot.add_tools(HoverTool(tooltips=[("", "@value"), *TOOLTIPS]))
    plot.xaxis.formatter = NumeralTickFormatter(format=SHORT)
    plot.ygrid.visible = False
    return plot


def _source(lines: list[dict[str, Any]], values: Any) -> ColumnDataSource:
    numbers = {name: [line[name] for line in lines] for name in ("revenue", "orders")}
    return ColumnDataSource({"value": values, **numbers})


def _figure(**options: Any) -> figure:
    plot = figure(**{"height": 280, "sizing_mode": "stretch_width", "toolbar_location": None, "tools": "", **options})
    plot.outline_line_color = None
    return plot
