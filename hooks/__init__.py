"""Observe and edit a running transformer: sites, wiring, proof, taps, interventions, runs."""
