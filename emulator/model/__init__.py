"""What the cloud is: one class a service, plain Python, no HTTP."""
