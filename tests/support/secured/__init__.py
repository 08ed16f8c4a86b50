"""Servers as a provider runs them: TLS with an authority of their own, and a login for every client."""
