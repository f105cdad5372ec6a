"""Agents as the runtime sees them: certificates, processes, supervision, and whether they answer."""
