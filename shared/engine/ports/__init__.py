"""What the engine needs from the outside, as protocols, by what they are about."""
