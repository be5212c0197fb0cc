"""Which perturbations do something."""
