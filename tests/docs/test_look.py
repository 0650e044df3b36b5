"""docs/look.md against the style that is shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSS = (ROOT / "portal/static/hub.css").read_text(encoding="utf-8")
TEXT = (ROOT / "docs/look.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.]+) \| ([\d.]+) \|$", TEXT, re.MULTILINE)
DARK = CSS.index("@media (prefers-color-scheme: dark)")
SCHEMES = {"light": CSS[:DARK], "dark": CSS[DARK : CSS.index(":root {\n")]}


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb` by WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--hub-([a-z-]+): (#[0-9a-f]{6})", SCHEMES[scheme]))


def test_black_on_white_is_twenty_one() -> None:
    assert round(contrast("#000000", "#ffffff"), 1) == 21


@pytest.mark.parametrize(("name", "light", "dark"), ROWS)
def test_the_contrast_is_what_the_page_says_and_enough(name: str, light: str, dark: str) -> None:
    for scheme, said in (("light", light), ("dark", dark)):
        found = colours(scheme)
        measured = contrast(found[name], found[f"{name}-back"])
        assert (f"{measured:.1f}", measured >= 4.5) == (said, True), scheme


def test_every_pair_of_colours_is_in_the_table() -> None:
    pairs = {name.removesuffix("-back") for name in colours("light") if name.endswith("-back")}
    assert {name for name, _, _ in ROWS} == pairs


@pytest.mark.parametrize(("element", "size"), [("h1", "1.75"), ("h2", "1.3"), ("h3", "1.1")])
def test_the_sizes_of_headings(element: str, size: str) -> None:
    assert re.search(rf"^{element} {{ font-size: {size}rem", CSS, re.MULTILINE)
    assert re.search(rf"\(`{element}`\) \| {size} rem", TEXT)
