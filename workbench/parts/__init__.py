"""Reusable pieces of the pages: components and their callbacks."""
