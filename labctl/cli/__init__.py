"""The command line: each module parses, calls and renders; nothing else."""
