"""The charts of the page, made on the server: step lines over time as SVG. Pure, without reads.

The SVG has no style, because the page allows no inline style: the style sheet sets colours, widths and text sizes by class.
Lines also differ by their dashes, not by colour alone. The page shows the same figures as a table beside each chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from markupsafe import Markup
from msgspec import Struct

from portal.reader import local

WIDTH, HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 34
_MAX_POINTS = 160  # at this width the eye does not see more points
_X_LABELS = 4
_DASHES = ("", "7 4", "2 4", "10 3 2 3")


class Line(Struct, frozen=True, kw_only=True):
    """A line of the chart: `name` is its class in the style sheet, `label` its text in the legend."""

    name: str
    label: str
    values: Sequence[float]


class Key(Struct, frozen=True, kw_only=True):
    """An entry of the legend: a sample of the line as SVG, and its label."""

    sample: Markup
    label: str


class Chart(Struct, frozen=True, kw_only=True):
    """A chart and its legend."""

    svg: Markup
    legend: tuple[Key, ...]


def line_chart(
    *,
    name: str,
    title: str,
    text: str,
    times: Sequence[datetime],
    lines: Sequence[Line],
    zone: ZoneInfo | None,
    unit: Callable[[float], str] = lambda value: f"{value:,.0f}",
    gap: timedelta | None = None,
    day: Callable[[str], str] = str,
) -> Chart:
    """Return a chart of at most four lines over `times`, as steps. Further lines are left out.

    The times are ascending, one for each value of a line; `name` is unique on the page. `title` and `text` describe the
    chart to screen readers.

    A value holds until the next count. Counts further apart than `gap` are not joined, because the values in between
    are unknown. `day` translates a day such as `28 Nov` into the reader's language.
    """
    kept = _sample(len(times))
    scale = _Scale.over([times[index] for index in kept], max((v for line in lines for v in line.values), default=0.0))
    parts = [_grid(scale, unit), _time_labels(scale, zone, day)]
    for line, dash in zip(lines, _DASHES, strict=False):
        points = [(times[index], line.values[index]) for index in kept]
        parts += [_drawn(line, dash, part, scale) for part in _parts(points, gap, _spacing(times, kept))]
    svg = Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-text">'
        '<title id="{}-title">{}</title><desc id="{}-text">{}</desc>{}</svg>'
    ).format(WIDTH, HEIGHT, name, name, name, title, name, text, Markup("").join(parts))
    return Chart(svg=svg, legend=tuple(_key(line, dash) for line, dash in zip(lines, _DASHES, strict=False)))


def _sample(count: int) -> list[int]:
    """Return the indexes of the points to draw: at most `_MAX_POINTS`, evenly spaced and always including the last."""
    step = max(1, math.ceil(count / _MAX_POINTS))
    return sorted({*range(count - 1, -1, -step)})


class _Scale(Struct, frozen=True, kw_only=True):
    """The mapping from time and value to coordinates in the chart. `top` is the highest value, `step` the distance of grid lines."""

    begins: datetime
    ends: datetime
    top: float
    step: float

    @classmethod
    def over(cls, times: Sequence[datetime], highest: float) -> _Scale:
        begins = times[0] if times else datetime(2000, 1, 1, tzinfo=UTC)
        ends = times[-1] if times else begins
        step = nice_step(highest)
        return cls(begins=begins, ends=ends, top=step * max(1, math.ceil(highest / step)), step=step)

    def x(self, when: datetime) -> float:
        span = (self.ends - self.begins).total_seconds()
        share = (when - self.begins).total_seconds() / span if span else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _TOP - _BOTTOM), 1)


def nice_step(highest: float) -> float:
    """Return a round distance between grid lines, with which at most four steps fit below `highest`.

    The distance is 1, 2 or 5 times a power of ten, and at least 1.
    """
    rough = highest / 4
    if rough <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= rough)


def _grid(scale: _Scale, unit: Callable[[float], str]) -> Markup:
    parts = []
    for number in range(round(scale.top / scale.step) + 1):
        y = scale.y(number * scale.step)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/><text class="tick tick-y" x="{}" y="{}">{}</text>'
            ).format(_LEFT, y, WIDTH - _RIGHT, y, _LEFT - 8, y + 4, unit(number * scale.step))
        )
    return Markup("").join(parts)


def _time_labels(scale: _Scale, zone: ZoneInfo | None, day: Callable[[str], str]) -> Markup:
    """Return evenly spaced time labels: the time of day if the chart spans at most two days, else the day.

    A label that repeats its predecessor is left out.
    """
    span = scale.ends - scale.begins
    shown, parts = "", []
    for number in range(_X_LABELS + 1):
        when = scale.begins + span * number / _X_LABELS
        here = local(when, zone)
        label = f"{here:%H:%M}" if span <= timedelta(days=2) else day(f"{here.day} {here:%b}")
        if label != shown:
            place = "start" if number == 0 and span else "end" if number == _X_LABELS else "middle"
            parts.append(
                Markup('<text class="tick" text-anchor="{}" x="{}" y="{}">{}</text>').format(
                    place, scale.x(when), HEIGHT - 10, label
                )
            )
        shown = label
    return Markup("").join(parts)


def _drawn(line: Line, dash: str, points: Sequence[tuple[datetime, float]], scale: _Scale) -> Markup:
    places = [(scale.x(when), scale.y(value)) for when, value in points]
    if len(places) == 1:
        (x, y) = places[0]
        return Markup('<circle class="dot-{}" cx="{}" cy="{}" r="4"/>').format(line.name, x, y)
    text = " ".join(f"{x},{y}" for x, y in _steps(places))
    return Markup('<polyline class="curve curve-{}"{} points="{}"/>').format(line.name, _dash(dash), text)


def _spacing(times: Sequence[datetime], kept: Sequence[int]) -> timedelta:
    """Return the time by which drawn points are further apart than the counts, because some counts are left out; zero if all are drawn."""
    step = max((b - a for a, b in pairwise(kept)), default=1)
    gaps = sorted(b - a for a, b in pairwise(times))
    return (step - 1) * gaps[len(gaps) // 2] if gaps else timedelta(0)


def _parts(
    points: Sequence[tuple[datetime, float]], gap: timedelta | None, spacing: timedelta
) -> list[list[tuple[datetime, float]]]:
    """Split the points at gaps, and return the parts."""
    parts: list[list[tuple[datetime, float]]] = []
    for point in points:
        if parts and (gap is None or point[0] - parts[-1][-1][0] <= gap + spacing):
            parts[-1].append(point)
        else:
            parts.append([point])
    return parts


def _steps(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of a step line, on which each value holds until the next value."""
    corners = [places[0]]
    for (_, before), (x, y) in pairwise(places):
        if y != before:
            corners += [(x, before), (x, y)]
    return [*corners, places[-1]] if corners[-1] != places[-1] else corners


def _key(line: Line, dash: str) -> Key:
    sample = Markup(
        '<svg class="sample" viewBox="0 0 28 8" width="28" height="8" aria-hidden="true">'
        '<polyline class="curve curve-{}"{} points="0,4 28,4"/></svg>'
    ).format(line.name, _dash(dash))
    return Key(sample=sample, label=line.label)


def _dash(dash: str) -> Markup:
    return Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup("")


def trend(values: Sequence[float]) -> str:
    """Return a description of a line, for readers who cannot see the chart: `from 120 to 180, between 110 and 190`.

    The range is left out if the line only rises or only falls.
    """
    if not values:
        return "no figures"
    turns = any(b < a for a, b in pairwise(values)) and any(b > a for a, b in pairwise(values))
    ends = f"from {values[0]:,.0f} to {values[-1]:,.0f}" if values[0] != values[-1] else f"{values[-1]:,.0f}"
    return f"{ends}, between {min(values):,.0f} and {max(values):,.0f}" if turns else ends
