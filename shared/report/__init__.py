"""One self-contained HTML file at the end of every run."""
