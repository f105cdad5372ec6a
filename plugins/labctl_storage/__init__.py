"""Storage virtualization: arrays, LUNs, exports and datastores."""
