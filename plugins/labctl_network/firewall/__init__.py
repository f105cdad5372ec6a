"""The distributed firewall. Policies, decisions and their arrangement in maps are pure."""
