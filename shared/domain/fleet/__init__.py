"""Everybody at once: drift, idleness, figures."""
