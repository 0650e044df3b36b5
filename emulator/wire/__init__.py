"""The protocols of the cloud: REST, gRPC, pushes and the control API."""
