"""Promotion: who becomes champion, and what that starts. Start in `promote`."""
