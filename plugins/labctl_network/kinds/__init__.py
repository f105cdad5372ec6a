"""The network plugin's kinds: pure, they compile to units of types netns, bridge, link and firewall."""
