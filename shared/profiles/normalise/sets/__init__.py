"""Named sets that ship with the package: rules of quality, and features that are never used."""
