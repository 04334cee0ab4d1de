"""What goes wrong in a year: each incident says what it does and how it is told whether anybody noticed. See `incident`."""
