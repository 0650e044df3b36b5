"""The state and rules of the cloud: one class for each service, in plain Python without HTTP."""
