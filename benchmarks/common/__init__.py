"""What the benchmarks share: the machine, what a run recorded, places for tables on a page, climbs as cases."""
