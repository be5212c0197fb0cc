"""Objects that compare: flags of quality, scales, and the choice of features."""
