"""Tables: which columns measure, which rows belong together, files and formats."""
