"""A template that asks for a field that no type has leaves no empty place on a page."""

from __future__ import annotations

import pytest
from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from kit.making import person

from portal.app import NoSuchField

TEMPLATES = Environment(undefined=NoSuchField, autoescape=True)


@pytest.mark.parametrize(
    "text", ["{{ record.power_because }}", "{% if record.status.zone %}x{% endif %}", "{{ record.spec.x.y }}"]
)
def test_a_field_that_a_record_has_not_is_an_error(text):
    with pytest.raises(UndefinedError, match="has no attribute"):
        TEMPLATES.from_string(text).render(record=person())


def test_a_name_that_a_page_leaves_out_is_empty():
    assert TEMPLATES.from_string("{{ note }}{% if note %}x{% endif %}").render() == ""


def test_a_field_that_is_there_is_shown():
    shown = TEMPLATES.from_string("{{ record.spec.power_reason|string }}").render(record=person())
    assert shown == "joined"
