"""`python -m risk_scoring_service`."""

import sys

from risk_scoring_service.main import main

sys.exit(main())
