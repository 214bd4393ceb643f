"""Families that learn pictures."""
