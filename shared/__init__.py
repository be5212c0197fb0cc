"""What both pipelines stand on: stores, ingest, engine, measurements, report and command."""
