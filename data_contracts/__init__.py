"""Data contracts: what rows (`schemas`) and tables (`suites`) must be, and `formats` that make records of raw rows."""
