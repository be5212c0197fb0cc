"""The only code that touches zarr: images, labels, pyramids, plates and their validation."""
