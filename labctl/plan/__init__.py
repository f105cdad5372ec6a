"""Desired against recorded units, turned into ordered steps. Pure."""
