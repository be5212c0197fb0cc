"""Optical pooled screens: from sequencing cycles to cells that carry a barcode."""
