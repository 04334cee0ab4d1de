"""MLflow: the only place that talks to tracking server and model registry."""
