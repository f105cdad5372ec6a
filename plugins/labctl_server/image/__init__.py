"""Images that VMs start from: the built-in `micro` image, built here, and disk files of the user's own."""
