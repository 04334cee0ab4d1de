"""A new project's folder, which a team keeps in git. Start in `project`."""
