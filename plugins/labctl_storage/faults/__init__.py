"""Faults of arrays: the words that users order them with, and how they are told. Pure."""
