"""Agents: the processes inside hosts and arrays that labd reaches over the management network with mutual TLS."""
