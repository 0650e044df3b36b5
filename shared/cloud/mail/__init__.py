"""Adapters of messages to users: the topic, the secrets, the mail server, the chat room."""
