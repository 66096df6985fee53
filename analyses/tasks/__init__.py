"""Data sets made from templates, one task per module, found by being there (see `analyses.datasets`)."""
