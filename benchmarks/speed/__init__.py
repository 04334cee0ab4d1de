"""How fast and how large: seconds and memory, with the machine they come from."""
