"""Workaround for machines that reach package registries but no image registry: images built from packages.

Each stand-in takes the name of an official image. An official image that is here already is used instead. A pass with
stand-ins proves the lab's own files, not the official images.
"""
