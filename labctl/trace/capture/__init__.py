"""Live links of a running lab: packets from the kernel's rings, in the order of their times, with what the lab says meanwhile.

`sockets` opens rings inside the lab's namespaces (rootless: through `opener`, which runs inside the lab's user namespace and passes
the sockets out), `merge` puts the packets of many rings into one order, `rotate` splits what is written over files.
"""
