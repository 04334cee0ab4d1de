"""The page of a climb, made of what MLflow keeps of it: is it better, is it sound, what did it cost. Start in `page`."""
