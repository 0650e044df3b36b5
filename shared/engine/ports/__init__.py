"""The engine's ports: protocols of what it needs from outside, one module per subject."""
