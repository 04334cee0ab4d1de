"""What goes wrong in a year: each says what it does, and whether anybody noticed. Start in `incident`."""
