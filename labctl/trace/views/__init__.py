"""What a capture looks like: `show` puts one command into words, field by field."""
