"""Threads that stay in the network namespace where a process began, while its first thread moves into another.

A thread's network namespace is that of the thread that started it (network_namespaces(7)), so all of these are started at once, and what
they start in turn, threads or processes, is outside too. labd starts agents that need the machine's own network on one; such an agent
makes its connections there on others.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def threads_here(count: int) -> ThreadPoolExecutor:
    """An executor with all its threads, in the network namespace that the caller is in now."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="outside")
    everyone = threading.Barrier(count + 1)
    for _ in range(count):
        pool.submit(everyone.wait)
    everyone.wait()
    return pool
