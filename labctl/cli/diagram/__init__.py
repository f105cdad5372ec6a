"""Drawings of a lab: one model, rendered as text, as Mermaid and as SVG. Pure: data in, text out."""
