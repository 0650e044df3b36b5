"""Pictures: well-formed SVG without style, in which every point lies inside, with words for who does not see it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.charts import HEIGHT, WIDTH, Line, line_chart, nice_step, trend

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def chart(values: list[float], *, step: timedelta = timedelta(hours=1), zone: ZoneInfo | None = None, **more):
    times = [NOW + step * index for index in range(len(values))]
    texts = {"title": "T", "text": "D", **more}
    return line_chart(name="n", times=times, lines=[Line(name="running", label="r", values=values)], zone=zone, **texts)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 - our own


def places(svg: str) -> list[tuple[float, float]]:
    (line,) = parsed(svg).findall(f"{SVG}polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=300))
def test_every_point_is_inside_and_the_ends_are_there(values):
    found = chart(values)
    drawn = places(found.svg)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert len(drawn) <= 2 * 161  # a step has two corners
    assert all(x == other or y == here for (x, y), (other, here) in pairwise(drawn))  # no slopes
    lowest = max(y for _, y in drawn)
    assert drawn[-1][1] == lowest or values[-1] > min(values)  # a higher value is never drawn lower than a lower one


def test_a_month_of_hours_keeps_its_newest_point():
    values = [float(index) for index in range(24 * 62)]
    drawn = places(chart(values).svg)
    assert drawn[-1][1] == min(y for _, y in drawn)
    assert drawn[-1][0] == max(x for x, _ in drawn)


@given(st.floats(0, 1e9))
def test_the_grid_has_few_round_lines_up_to_the_highest_value(highest):
    step = nice_step(highest)
    power = 10 ** math.floor(math.log10(step))
    assert round(step / power, 6) in {1, 2, 5, 10}
    assert math.ceil(highest / step) <= 4


def test_no_style_no_script_and_texts_are_escaped():
    found = chart([1, 2], title="<b>&", text='"><script>')
    root = parsed(found.svg)
    assert root.find(f"{SVG}title").text == "<b>&"
    assert root.find(f"{SVG}desc").text == '"><script>'
    assert "style" not in found.svg
    assert root.attrib["role"] == "img"
    ids = set(re.findall(r' id="([^"]+)"', found.svg))
    assert set(root.attrib["aria-labelledby"].split()) == ids


def test_lines_differ_by_dashes_and_the_legend_has_the_same():
    lines = [Line(name=f"l{n}", label=f"L{n}", values=[n, n + 1]) for n in range(4)]
    found = line_chart(name="n", title="T", text="D", times=[NOW, NOW + timedelta(days=9)], lines=lines, zone=None)
    drawn = [line.get("stroke-dasharray") for line in parsed(found.svg).findall(f"{SVG}polyline")]
    legend = [parsed(key.sample).find(f"{SVG}polyline").get("stroke-dasharray") for key in found.legend]
    assert drawn == legend
    assert len(set(drawn)) == 4
    assert [key.label for key in found.legend] == ["L0", "L1", "L2", "L3"]


def labels(svg: str) -> list[str]:
    return [t.text for t in parsed(svg).findall(f"{SVG}text") if t.attrib["class"] == "tick"]


def test_moments_are_on_the_readers_clock():
    day = [float(n) for n in range(9)]
    assert labels(chart(day).svg) == ["09:30", "11:30", "13:30", "15:30", "17:30"]
    assert labels(chart(day, zone=ZoneInfo("Europe/Berlin")).svg)[0] == "10:30"
    assert labels(chart(day, step=timedelta(days=1)).svg) == ["23 Nov", "25 Nov", "27 Nov", "29 Nov", "1 Dec"]


def test_one_moment_is_a_dot():
    root = parsed(chart([5]).svg)
    assert root.find(f"{SVG}circle") is not None
    assert root.find(f"{SVG}polyline") is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "no figures"),
        ([3, 3, 3], "3"),
        ([1, 2, 3], "from 1 to 3"),
        ([5, 1, 4], "from 5 to 4, between 1 and 5"),
        ([2, 9, 2], "2, between 2 and 9"),
    ],
)
def test_a_course_in_words(values, said):
    assert trend(values) == said


def test_counts_far_apart_are_not_joined() -> None:
    """What was between two counts seven hours apart is not known: no line says that it fell."""
    times = [NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=8), NOW + timedelta(hours=9)]
    line = Line(name="running", label="r", values=[50, 50, 0, 0])
    found = line_chart(name="n", title="T", text="D", times=times, lines=[line], zone=None, gap=timedelta(hours=2))
    parts = [each.attrib["points"].split() for each in parsed(found.svg).findall(f"{SVG}polyline")]
    assert len(parts) == 2
    assert all(len({point.split(",")[1] for point in part}) == 1 for part in parts)


def test_a_gap_is_found_where_few_of_many_counts_are_drawn() -> None:
    hours = [*range(600), *range(640, 1240)]
    line = Line(name="running", label="r", values=[float(hour < 600) for hour in hours])
    times = [NOW + timedelta(hours=hour) for hour in hours]
    found = line_chart(name="n", title="T", text="D", times=times, lines=[line], zone=None, gap=timedelta(hours=2))
    assert len(parsed(found.svg).findall(f"{SVG}polyline")) == 2
