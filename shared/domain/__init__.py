"""The pure decisions of the product. No I/O, no clock, no environment."""
