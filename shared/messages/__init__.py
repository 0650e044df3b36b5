"""The parsers that turn untrusted bytes into events: addresses, the neutral schema, Google's log entries, and the users named in dead letters."""
