"""Optical pooled screens and organoid z-stacks, from raw microscope files to profiles."""

__version__ = "0.1.0"
