"""Saved files: the actions and the step."""
