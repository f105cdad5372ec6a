"""What commands add up to: `filters` chooses, `histogram` and `summary` count in constant memory, `words` puts figures into words."""
