"""Trainings that are other people's processes: commands and loops."""
