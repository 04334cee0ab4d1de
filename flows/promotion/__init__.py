"""Who becomes champion, and what a promotion starts."""
