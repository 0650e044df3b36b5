"""Mutants of decisions and orchestration: small changes of the code, each of which a test should notice. docs/testing.md."""
