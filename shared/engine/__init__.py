"""The orchestration over ports: read, decide (domain), act, save. Imports the domain only."""
