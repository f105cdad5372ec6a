"""What leads from one network to another: routes, and what changes addresses on the way."""
