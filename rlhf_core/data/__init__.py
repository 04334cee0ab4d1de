"""What a stage learns from: records, and how they become rows of tokens."""
