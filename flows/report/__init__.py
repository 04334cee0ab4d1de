"""What people see of a climb: figures and the summary."""
