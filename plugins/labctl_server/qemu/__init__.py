"""Everything that talks to QEMU: its command line, its monitor, the guest agent, and whether KVM works. Knows no labs and no hosts."""
