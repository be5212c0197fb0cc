"""Maps and clusters of profiles, and what clusters stand for."""
