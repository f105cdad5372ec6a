"""DRS: which VMs had better run on which hosts of a cluster, and moving them there."""
