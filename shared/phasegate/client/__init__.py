"""What a job of the pipeline imports: report, preflight, retrying."""
