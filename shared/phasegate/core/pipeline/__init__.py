"""The pipeline file as values, and what is wrong between its parts."""
