"""The state and rules of the cloud: one class a service, plain Python, no HTTP."""
