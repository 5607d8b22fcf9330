"""The pipeline file as values, and the rules that span several of its parts."""
