"""The host's agent: it runs the host's VMs, and they outlive it.

Rules. What is on disk (a folder a VM, written atomically) and what runs (found by a token in each QEMU's environment) is the truth; what
is in memory is made anew from the two at every start. No VM ever runs twice: a start happens under the VM's lock, after a look for a
process that carries its token, in the one hostd that holds the folder's lock. hostd starts nothing of its own accord.

A VM's power state, as a table:

| state | meaning | leads to |
|---|---|---|
| off | no process; it was never started, was shut down, or was powered off | running (start) |
| running | a process | off (the guest shut down, or stop), crashed (the process ended by itself) |
| crashed | no process, and nobody asked for that | running (start), off (stop) |
| incoming | a process that waits for a migration's memory, paused | running (its source says so), gone (it does not come) |

A migration (labctl_server.hostd.migration) hands a VM over in one step: the destination's process never runs before its source has
written down that it may, and the source's never again after that unless the destination says that it has not begun.
"""
