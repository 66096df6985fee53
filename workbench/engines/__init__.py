"""Engines: who runs the jobs of a workspace, in this process or in one of its own."""
