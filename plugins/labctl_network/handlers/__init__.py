"""The handlers of the unit types netns, bridge and link: they turn specs into calls of labctl.linux."""
