"""MLflow, tracking server and model registry. Start in `client`; all names stand in `names`."""
