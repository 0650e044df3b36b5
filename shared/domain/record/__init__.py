"""The record of one person: nested, typed parts, and how they are written and read."""
