"""The views for users and scripts."""
