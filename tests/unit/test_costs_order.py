"""In which order groups are shown on the page of costs."""

from __future__ import annotations

from shared.engine.views.costs import Sums, _dearest_first


def test_what_costs_most_comes_first_then_what_ran_longest_notebooks_and_clusters_together():
    groups = {
        "ran long": Sums(notebook_s=5, spark_s=20),
        "ran": Sums(notebook_s=10, spark_s=0),
        "estimated": Sums(estimate=1.0),
        "billed": Sums(billed=1.0),
    }
    assert [name for name, _ in _dearest_first(groups)] == ["billed", "estimated", "ran long", "ran"]
