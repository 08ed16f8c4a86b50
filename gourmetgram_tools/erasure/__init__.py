"""Erasure of persons and images from every store, and the search for remains (docs/governance.md)."""
