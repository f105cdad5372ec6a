"""Server virtualization: hosts, clusters, VMs and images."""
