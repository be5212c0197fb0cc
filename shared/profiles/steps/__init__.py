"""Steps on tables that need not fit into memory, as the recipe takes them."""
