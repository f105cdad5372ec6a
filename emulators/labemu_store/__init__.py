"""Block and file stores over fsspec, and filters that wrap them."""
