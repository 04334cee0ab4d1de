"""Six reports of real climbs for a reader who is given nothing else, and what a person should decide of each."""
