"""report.html: one self-contained page with the numbers, the reject reasons, and the plots."""

import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
from bokeh.embed import components
from bokeh.models import ColumnDataSource, DataRange1d, FixedTicker, HoverTool, NumeralTickFormatter, PlainText
from bokeh.plotting import figure
from bokeh.resources import Resources
from bokeh.settings import settings
from jinja2 import Environment

from daskjobs.orders import amount_text
from daskjobs.summary import by_period, most, of

BARS = 20  # the most that one plot shows
MOST_DAYS = 4000  # points of the plot by day: ten years
MOST_NAME, MOST_LABEL = 200, 40  # characters of a name, where one points at its bar and beside it
PERIODS = {"day": "%F", "month": "%Y-%m", "year": "%Y"}
COLOR = "#2b6cb0"
SHORT = "0.[0]a"  # 1.2m
TOOLTIPS = [("revenue", "@revenue{0,0.00}"), ("orders", "@orders{0,0}")]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def page(revenue: int, quality: dict[str, Any], summary: pa.Table, resources: dict[str, Any]) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it.

    ``resources``, as in validate/run.json, are a section of their own, the only one in which two runs of the same data
    differ.
    """
    period, days = by_period(of(summary, "day"), MOST_DAYS)
    lines = {name: of(summary, name) for name in ("region", "product")}
    shown = {name: most(found, BARS).to_pylist() for name, found in lines.items()}
    settings.simple_ids = False  # but random ones, which can be told from what users wrote, and numbered
    plots = {
        f"Revenue by {period}": _days(period, days),
        "Revenue by region": _bars(shown["region"]),
        "Revenue by product": _bars(shown["product"]),
    }
    script, divs = components(dict(plots)) if summary.num_rows else ("", {})
    settings.simple_ids.unset_value()
    own = [line["value"] for found in shown.values() for line in found]
    fixed = _fixed_ids(json.dumps([script, divs]), own)
    script, divs = json.loads(fixed)
    template = Environment(autoescape=True).from_string((files("daskjobs") / "page.html.j2").read_text("utf-8"))
    html = template.render(
        revenue_text=_grouped(revenue),
        quality=quality,
        bokeh=Resources(mode="inline", components=["bokeh"]).render_js() if divs else "",
        script=script,
        plots=divs,
        period=period,
        most_days=MOST_DAYS,
        many=[name for name in lines if len(lines[name]) > BARS],
        bars=BARS,
        resources=resources,
    )
    return html.encode()


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


def _days(period: str, days: pa.Table) -> figure:
    plot = _figure(x_axis_type="datetime", y_range=DataRange1d(start=0))
    lines = days.to_pylist()
    source = _source(lines, value=np.array([line["value"] for line in lines], "datetime64[ms]"))
    plot.line("value", "revenue", source=source, color=COLOR, line_width=2)
    plot.scatter("value", "revenue", source=source, color=COLOR, size=4, alpha=0.4)
    tooltips = [(period, f"@value{{{PERIODS[period]}}}"), *TOOLTIPS]
    plot.add_tools(HoverTool(tooltips=tooltips, formatters={"@value": "datetime"}))
    plot.yaxis.formatter = NumeralTickFormatter(format=SHORT)
    return plot


def _bars(most: list[dict[str, Any]]) -> figure:
    """Draw a bar for each line, the first on top, at places 0, 1, …: names as places would have to differ."""
    names = [_label(line["value"]) for line in most]
    places = list(range(len(most)))[::-1]
    plot = _figure(y_range=(-0.5, len(most) - 0.5), x_range=DataRange1d(start=0), height=90 + 24 * len(most))
    source = _source(most, name=names, place=places)
    plot.hbar(y="place", right="revenue", source=source, height=0.7, color=COLOR)
    plot.add_tools(HoverTool(tooltips=[("", "@name"), *TOOLTIPS]))
    plot.xaxis.formatter = NumeralTickFormatter(format=SHORT)
    plot.yaxis.ticker = FixedTicker(ticks=places)
    # As PlainText, or bokeh would take what stands between dollars for a formula.
    plot.yaxis.major_label_overrides = {
        place: PlainText(text=_cut(name)) for place, name in zip(places, names, strict=True)
    }
    plot.ygrid.visible = False
    return plot


def _label(name: str) -> str:
    """Return a name as the plots show it: on one line, and one that is empty so that one sees it."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name[:MOST_NAME])
    return f"{text}…" if len(name) > MOST_NAME else text or "(empty)"


def _cut(name: str) -> str:
    return name if len(name) <= MOST_LABEL else f"{name[: MOST_LABEL - 1]}…"


def _source(lines: list[dict[str, Any]], **columns: Any) -> ColumnDataSource:
    numbers = {"revenue": [float(line["revenue"]) for line in lines], "orders": [line["orders"] for line in lines]}
    return ColumnDataSource({**columns, **numbers})


def _figure(**options: Any) -> figure:
    plot = figure(**{"height": 280, "sizing_mode": "stretch_width", "toolbar_location": None, "tools": "", **options})
    plot.outline_line_color = None
    return plot
