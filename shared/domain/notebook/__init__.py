"""The instance: its actions, its step, replacement, and the end of it."""
