"""The embedded cloud: Google Cloud's real API shapes on one loopback port, with a virtual clock and scripted faults.

It imports nothing of the product. `model/` holds what the cloud *is* (plain Python, one class a service), `wire/` how it is
spoken to (REST, gRPC, the control API). `python -m emulator --help` starts it.
"""
