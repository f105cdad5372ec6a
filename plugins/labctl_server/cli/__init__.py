"""The server plugin's commands; each group is imported when it is used."""
