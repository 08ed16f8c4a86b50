"""A small stand-in of the cloud that the provisioning notebooks talk to; its state is in memory."""
