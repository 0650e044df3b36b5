"""Untrusted bytes -> news about people: sources, addresses, the neutral schema, Google's log entries, dead letters' people."""
