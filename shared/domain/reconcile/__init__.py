"""The planner, and the update of a record after a pass. Only this package handles all kinds of resource."""
