"""Servers, deployments, schedules, automations, alerts. Start in `deployments`."""
