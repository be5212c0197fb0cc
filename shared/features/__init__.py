"""Measurements of labelled objects in two and three dimensions."""
