"""Many rows to one: wells, guides and genes of objects."""
