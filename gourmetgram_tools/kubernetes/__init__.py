"""Kubernetes manifests (Kustomize), made from the compose file and the settings of docker/.env."""
