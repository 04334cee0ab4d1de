"""What crashes left behind: found, named and removed where it is certainly nobody's. Start in `checkup`."""
