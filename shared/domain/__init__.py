"""The pure decisions of the product. This package uses no I/O, no clock and no environment."""
