"""Learners and how one is built from a task."""
