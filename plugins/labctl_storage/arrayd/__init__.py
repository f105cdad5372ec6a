"""The array's agent: one process that runs the array's emulators and its management interface.

`application` speaks HTTP, `registry` remembers what was configured, `services` runs the targets and exports, `content` makes the
files. After a restart the registry alone restores everything, so that initiators that come back find their LUNs and handles.
"""
