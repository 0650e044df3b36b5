"""Who is entitled to what: facts from every source, folded, and what follows from them."""
