"""Namespaces, links, cgroups, processes: the only place that speaks netlink or calls the kernel's namespace interface.

The netlink messages are our own (`netlink`, `rtnetlink`; docs/adr/0006); nobody outside this package sees them.

All calls block; whoever runs an event loop calls them in a thread. Nothing here knows what a lab is: callers choose the paths and names,
and remove what they made. Everything works as root and, alike, as root of an unprivileged user namespace with a private mount namespace.
"""
