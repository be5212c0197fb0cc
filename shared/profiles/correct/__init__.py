"""Differences between batches: how they are removed, and what that costs."""
