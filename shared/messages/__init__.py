"""The parsers of untrusted bytes into news: sources, addresses, the neutral schema, Google's log entries, users in dead letters."""
