"""What the tests share: the product over the embedded cloud without sockets, an oracle of the world, messages."""
