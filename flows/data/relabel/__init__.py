"""Fresh answers of the newest policy become labelled pairs."""
