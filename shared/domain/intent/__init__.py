"""The wanted state of one user, derived from facts, requests and decisions."""
