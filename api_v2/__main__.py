"""`python -m api_v2`."""

from api_v1.server import main
from api_v2.settings import ApiV2Settings

# The processes of several workers import this module, too.
if __name__ == "__main__":
    main("api_v2", ApiV2Settings)
