"""The instance: its actions, its step, its replacement and its end."""
