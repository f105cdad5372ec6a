"""Locks of NFSv3: NLM version 4 (RFC 1813 appendix II), and NSM (The Open Group C702, chapter 11), by which restarts become known."""
