"""Formats: annotated classes compiled to parsers, and ready ones."""
