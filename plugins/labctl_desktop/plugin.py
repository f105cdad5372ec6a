"""The desktop plugin's registration. It brings no kinds yet: desktop pools come with their own work."""
