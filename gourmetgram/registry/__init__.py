"""MLflow's model registry: from an alias to the files that the scorer may serve."""
