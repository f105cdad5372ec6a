"""Resources, references, graphs, the inventory. Pure: no input, no output, no clock."""
