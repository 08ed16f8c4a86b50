"""A small stand-in of the cloud that the provisioning notebooks talk to: same addresses, same errors, state in memory."""
