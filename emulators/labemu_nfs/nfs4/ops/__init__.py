"""The operations of a COMPOUND, one module a group; each ends with its rows of the table, OPS."""
