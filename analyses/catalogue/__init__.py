"""One method per module; each exports ANALYSIS and is found by being there."""
