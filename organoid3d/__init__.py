"""Organoid z-stacks: segmentation and measurement in three dimensions."""
