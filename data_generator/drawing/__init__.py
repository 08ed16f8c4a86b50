"""Pictures of food, drawn from nothing but random numbers and Pillow: the bundled sample set."""
