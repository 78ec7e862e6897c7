"""Backups that were taken: which there are, whether they read through, and which may go."""
