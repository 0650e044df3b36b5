"""The command line `benchkeeper`. It makes the engine's own calls, and only asks, prints and sets the exit code."""
