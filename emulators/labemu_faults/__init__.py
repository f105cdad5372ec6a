"""Faults that users order while an emulator runs: one kind of rule for every emulator, with the same words for all."""
