"""What a capture looks like. Functions over commands; they print nothing.

- `show`: one command, field by field. `waterfall`: where its time went.
- `ladder`: what two ends said, as text and SVG. `diff`: two captures compared. `plot`: latencies and places, drawn.
"""
