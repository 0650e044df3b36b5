"""The embedded cloud: the API shapes of Google Cloud on one loopback port, with a virtual clock and scripted faults.

The package imports nothing from the product. `model/` holds the state and rules of the services (plain Python, one
class for each service), `wire/` their protocols (REST, gRPC, the control API). `python -m emulator` starts the cloud.
"""
