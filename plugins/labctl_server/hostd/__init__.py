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
"""
