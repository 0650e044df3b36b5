"""The planner and the outcomes: the only place that knows all kinds of resource."""
