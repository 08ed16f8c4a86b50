"""`python -m stream_consumer`."""

import sys

from stream_consumer.main import main

sys.exit(main())
