"""Trainings outside lrsearch: commands and loops, in processes of their own."""
