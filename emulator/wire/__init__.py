"""How the cloud is spoken to: REST, gRPC, pushes and the control API."""
