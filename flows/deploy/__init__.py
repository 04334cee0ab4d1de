"""Servers, deployments, schedules, automations, alerts; a new project's folder. Start in `deployments`."""
