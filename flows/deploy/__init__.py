"""Servers, deployments, schedules, automations, alerts."""
