"""The scheduled sweeps."""
