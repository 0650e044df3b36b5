"""The record of one user: nested, typed parts, and their conversion to JSON and back."""
