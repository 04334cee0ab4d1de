"""Fresh answers of the newest policy become labelled pairs. Start in `relabel`."""
