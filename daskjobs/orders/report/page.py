"""report.html: one self-contained page with the numbers, the reject reasons, and the plots."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bokeh.embed import components
from bokeh.models import ColumnDataSource, DataRange1d, FixedTicker, HoverTool, NumeralTickFormatter, PlainText
from bokeh.plotting import figure
from bokeh.resources import Resources
from bokeh.settings import settings
from jinja2 import Environment

from daskjobs.display import escaped
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.summary import by_period, most, of

BARS = 20  # at most in one plot
MOST_DAYS = 4000  # points of the plot by day: ten years
MOST_NAME, MOST_LABEL = 200, 40  # characters of a name in the tooltip of its bar, and beside the bar
PERIODS = {"day": "%F", "month": "%Y-%m", "year": "%Y"}
COLOR = "#2b6cb0"
SHORT = "0.[0]a"  # 1.2m
TOOLTIPS = [("revenue", "@revenue{0,0.00}"), ("orders", "@orders{0,0}")]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Request:
    """The number of workers, and what each requests; empty if unknown."""

    workers: int = 0
    worker_cpu: str = ""
    worker_memory: str = ""


@dataclass(frozen=True)
class Use:
    """What the workers used: seconds of all workers together, and bytes of the largest process."""

    workers: int
    lost: int
    busy_seconds: float
    cores: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ResourcesSection:
    """What validate's workers requested, used, and should request next time, for the page."""

    asked: Request
    used: Use
    next: Request
    advice: list[str]


def page(
    revenue: int | None,
    quality: Quality,
    summary: pa.Table,
    resources: ResourcesSection | None,
    broken: str = "",
    notes: Sequence[str] = (),
) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it.

    ``broken`` says why the run has failed, if it has; ``revenue`` is None if it is in no one currency, and then nothing
    is plotted. ``notes`` are sentences about the plots. ``resources`` are shown in the only section that may differ
    between two runs of the same data.
    """
    period, days = by_period(of(summary, "day"), MOST_DAYS)
    lines = {name: of(summary, name) for name in ("region", "product")}
    shown = {name: most(each, BARS) for name, each in lines.items()}
    with _random_ids():
        plots = {
            f"Revenue by {period}": _days(period, days),
            **{f"Revenue by {name}": _bars(each) for name, each in shown.items() if len(each)},
        }
        script, divs = components(dict(plots)) if summary.num_rows and revenue is not None else ("", {})
    own = [name for each in shown.values() for name in each["value"].to_pylist()]
    fixed = _fixed_ids(json.dumps([script, divs]), own)
    script, divs = json.loads(fixed)
    source = (files("daskjobs.orders.report") / "page.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True)
    environment.filters["seen"] = escaped
    template = environment.from_string(source)
    html = template.render(
        revenue_text="no" if revenue is None else f"{Decimal(revenue).scaleb(-2):,.2f}",
        quality=quality,
        bokeh=Resources(mode="inline", components=["bokeh"]).render_js() if divs else "",
        script=script,
        plots=divs,
        period=period,
        most_days=MOST_DAYS,
        many=[name for name in lines if len(lines[name]) > BARS],
        bars=BARS,
        resources=resources,
        broken=broken,
        notes=notes,
        of_currency=f", {quality.currency}" if quality.currency else "",
        amount=lambda text: f"{Decimal(text):,.2f}",
    )
    return html.encode()


@contextmanager
def _random_ids() -> Iterator[None]:
    """Let bokeh give its elements random ids, which can be told from what users wrote, and numbered."""
    chosen = settings.simple_ids()  # by the program, which may draw plots of its own
    settings.simple_ids = False
    try:
        yield
    finally:
        settings.simple_ids = chosen


def _fixed_ids(html: str, names: list[str]) -> str:
    """Number the random ids that bokeh gives its elements, so that the same report is the same bytes.

    An id that stands in ``names`` is the user's own.
    """
    ids = dict.fromkeys(_UUID.findall(" ".join(names)))
    fixed: dict[str, str] = {}
    return _UUID.sub(
        lambda match: match[0] if match[0] in ids else fixed.setdefault(match[0], f"plot-{len(fixed)}"), html
    )


def _days(period: str, days: pa.Table) -> figure:
    plot = _figure(x_axis_type="datetime", y_range=_from_zero(days))
    source = _source(days, value=np.array(days["value"].to_pylist(), "datetime64[ms]"))
    plot.line("value", "revenue", source=source, color=COLOR, line_width=2)
    plot.scatter("value", "revenue", source=source, color=COLOR, size=4, alpha=0.4)
    tooltips = [(period, f"@value{{{PERIODS[period]}}}"), *TOOLTIPS]
    plot.add_tools(HoverTool(tooltips=tooltips, formatters={"@value": "datetime"}))
    plot.yaxis.formatter = NumeralTickFormatter(format=SHORT)
    return plot


def _bars(most: pa.Table) -> figure:
    """Draw a bar for each line, the first on top, at positions 0, 1, …, since names need not be unique."""
    names = list(map(_label, most["value"].to_pylist()))
    places = list(range(len(most)))[::-1]
    plot = _figure(y_range=(-0.5, len(most) - 0.5), x_range=_from_zero(most), height=90 + 24 * len(most))
    source = _source(most, name=names, place=places)
    plot.hbar(y="place", right="revenue", source=source, height=0.7, color=COLOR)
    plot.add_tools(HoverTool(tooltips=[("", "@name"), *TOOLTIPS]))
    plot.xaxis.formatter = NumeralTickFormatter(format=SHORT)
    plot.yaxis.ticker = FixedTicker(ticks=places)
    # As PlainText, else bokeh would take text between dollar signs for a formula.
    plot.yaxis.major_label_overrides = {
        place: PlainText(text=name if len(name) <= MOST_LABEL else f"{name[: MOST_LABEL - 1]}…")
        for place, name in zip(places, names, strict=True)
    }
    plot.ygrid.visible = False
    return plot


def _from_zero(lines: pa.Table) -> DataRange1d:
    """Return the range of an axis of revenue, which begins at zero unless more was given back than paid."""
    least = pc.min(lines["revenue"]).as_py() or 0
    return DataRange1d(start=0) if least >= 0 else DataRange1d()


def _label(name: str) -> str:
    """Return a name as the plots show it: on one line, and visible even if it is empty."""
    text = escaped(name[:MOST_NAME])
    return f"{text}…" if len(name) > MOST_NAME else text or "(empty)"


def _source(lines: pa.Table, **columns: Any) -> ColumnDataSource:
    revenue = list(map(float, lines["revenue"].to_pylist()))
    return ColumnDataSource({**columns, "revenue": revenue, "orders": lines["orders"].to_pylist()})


def _figure(**options: Any) -> figure:
    plot = figure(**{"height": 280, "sizing_mode": "stretch_width", "toolbar_location": None, "tools": "", **options})
    plot.outline_line_color = None
    return plot
