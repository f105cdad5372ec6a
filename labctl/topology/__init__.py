"""TOML to resources: every problem in one go, each with file:line:column and a hint."""
