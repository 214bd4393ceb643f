"""Families that learn series: windows of what sensors read, or of sound, and draw others."""
