"""Filesystems elsewhere, through fsspec: what block stores and file stores have in common.

- `calls`: what is used of a filesystem, in time, with failures as errnos and without secrets.
- `opening`: from a URL to a filesystem.
"""
