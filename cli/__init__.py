"""The command line: `benchkeeper`. Same engine calls as everything else; it only asks, prints and sets the exit code."""
