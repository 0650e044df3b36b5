"""The adapters to instances, their snapshots, and the evidence of their use."""
