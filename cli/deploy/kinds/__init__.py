"""The modules for each kind of deployed resource: read the present state, compare, return steps."""
