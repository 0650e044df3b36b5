"""The deterministic simulator: whole entries of the product on real threads, of which a seed lets exactly one run. docs/testing.md."""
