"""The state of a project on one screen. Start in `report`."""
