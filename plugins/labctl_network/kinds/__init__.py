"""The network plugin's kinds: pure, they compile to units of types netns, bridge, link, ports and firewall."""
