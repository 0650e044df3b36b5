"""What comes in: messages, dead letters, requests from the page."""
