"""What data must be, and the formats that turn raw rows into records."""
