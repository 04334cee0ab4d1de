"""Row by row: named rules with reasons and mends."""
