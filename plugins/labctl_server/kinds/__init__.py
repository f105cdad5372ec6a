"""The server plugin's kinds: pure, they compile to units of types netns, bridge, link, agent, image, volume and vm."""
