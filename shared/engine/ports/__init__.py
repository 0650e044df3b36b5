"""The engine's ports: the protocols of everything that the engine needs from outside, one module per subject."""
