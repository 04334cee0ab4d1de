"""What data must be, and the readers that turn raw files into records."""
