"""The page of a climb, made of what MLflow keeps of it: is it better, sound, worth its cost. Start in `page`."""
