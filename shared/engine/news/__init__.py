"""The intake: messages, dead letters, requests from the page."""
