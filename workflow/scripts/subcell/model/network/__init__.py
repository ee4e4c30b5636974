"""The vision transformer: its sizes, parts and inputs."""
