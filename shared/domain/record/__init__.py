"""The record of one user: nested, typed parts, and how they are written and read."""
