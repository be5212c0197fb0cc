"""Raw files to arrays and plates: name patterns, readers and the manifest."""
