"""One page per module; each exports PAGE and is found by being there."""
