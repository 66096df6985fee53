"""Doors, cache and jobs of the workbench: command line, browser app, Python API."""

__version__ = "0.1.0"
