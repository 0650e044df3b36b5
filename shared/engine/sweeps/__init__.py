"""The scheduled passes."""
