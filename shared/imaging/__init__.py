"""Arrays in, arrays out: what both modalities do to images."""
