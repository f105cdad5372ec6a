"""Small protocols through which plugins meet without importing one another."""
