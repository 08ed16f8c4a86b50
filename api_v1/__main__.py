"""`python -m api_v1`."""

from api_v1.server import main
from api_v1.settings import ApiSettings

# The processes of several workers import this module, too.
if __name__ == "__main__":
    main("api_v1", ApiSettings)
