"""How alike profiles are, and by what chance."""
