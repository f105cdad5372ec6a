"""The distributed firewall. Policies, decisions and their arrangement in maps and commands are pure; `nft.py` alone runs something."""
