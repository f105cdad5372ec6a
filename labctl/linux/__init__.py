"""Namespaces, links, cgroups, processes: the only user of pyroute2."""
