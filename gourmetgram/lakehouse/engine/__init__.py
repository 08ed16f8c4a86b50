"""Engines of the offline work: the same Ibis expressions on DuckDB (one machine) or Apache Spark.

`OFFLINE_ENGINE` chooses. docs/decisions/offline-engines.md has the reasons.
"""

from gourmetgram.lakehouse.engine.engine import Engine as Engine
from gourmetgram.lakehouse.engine.engine import Renamed as Renamed
from gourmetgram.lakehouse.engine.opening import open_engine as open_engine
