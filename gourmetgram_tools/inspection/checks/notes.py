"""Notes: observations on the platform's data that are no differences."""

from typing import Final

from gourmetgram_tools.inspection.checks.check import Note, NoteQuery
from gourmetgram_tools.inspection.tables import StoreTables

MAX_EXAMPLES: Final = 5

_NOTES: Final = (
    NoteQuery(
        "events delivered more than once (counted once)",
        "SELECT event_id::VARCHAR, 1 FROM copies",
    ),
    NoteQuery(
        "events that no service wrote: simulated or typed in", "SELECT event_id::VARCHAR, 1 FROM events WHERE by_hand"
    ),
    NoteQuery("records without their image's id as key", "SELECT event_id::VARCHAR, 1 FROM records WHERE NOT keyed"),
    NoteQuery(
        "images whose events have no defined order (requests not compared)",
        "SELECT image_id::VARCHAR, 1 FROM seen_images WHERE scattered",
    ),
    NoteQuery(
        "dead letters",
        """
        SELECT consumer_group || ': ' || error || ' (' || count(*) || ')', count(*)
        FROM dead_letters GROUP BY consumer_group, error
        """,
    ),
    NoteQuery(
        "requests delivered more than once",
        "SELECT request_id::VARCHAR, 1 FROM request_records GROUP BY request_id HAVING count(*) > 1",
    ),
    NoteQuery("requests that the stream consumer did not make", "SELECT request_id::VARCHAR, 1 FROM foreign_requests"),
    NoteQuery(
        "decisions written by hand (they answer no request)",
        "SELECT decision_id::VARCHAR, 1 FROM decisions WHERE request_id IS NULL",
    ),
    NoteQuery(
        "buckets and folders of another owner, where nothing is removed",
        "SELECT place || ': ' || reason, 1 FROM not_owned",
    ),
    NoteQuery("pictures without a row that an API will sweep", "SELECT key, 1 FROM swept_soon"),
    NoteQuery(
        "unreadable records that the aggregation skipped",
        """
        SELECT topic || '/' || partition || '@' || "offset", 1
        FROM bad_records JOIN lake_offsets USING (topic, partition) WHERE "offset" < next_offset
        """,
    ),
    NoteQuery(
        "rows written without events (API v1, or older than Kafka's retention)",
        """
        SELECT CASE kind WHEN 'upload' THEN 'image' ELSE kind END || ' ' || row_id, 1
        FROM platform_rows ANTI JOIN row_events USING (kind, row_id) WHERE NOT must_have_events(image_id, created_us)
        """,
    ),
)


def take_notes(tables: StoreTables) -> list[Note]:
    """Take all notes that have an example."""
    notes = []
    for name, query in _NOTES:
        things = f"({query}) AS things(example, number)"
        ((count,),) = tables.rows(f"SELECT coalesce(sum(number), 0) FROM {things}")  # noqa: S608 - no outside text
        if count:
            first = f"SELECT example FROM {things} ORDER BY number DESC, example LIMIT {MAX_EXAMPLES}"  # noqa: S608
            notes.append(Note(name, int(count), tuple(example for (example,) in tables.rows(first))))
    return notes
