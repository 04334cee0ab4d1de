"""Signed statements about what was made, judged and promoted, in a log that only grows. Start in `log`."""
