"""`python -m data_generator`."""

from data_generator.main import main

raise SystemExit(main())
