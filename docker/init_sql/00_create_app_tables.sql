-- The application's tables: the schema as it is today. Applied by the postgres image on an empty volume and by the local
-- stack on a new database; every statement may run again without an error. Databases that are there already follow by
-- revisions (docs/decisions/migrations.md).

-- Only a new database gets this table here; create_moderation_table.sql, the last file with tables, writes into it.
DO $$
BEGIN
    IF to_regclass('users') IS NULL THEN
        CREATE TABLE IF NOT EXISTS alembic_version (
            version_num VARCHAR(32) NOT NULL,
            CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
        );
    END IF;
END
$$;

-- The PostgreSQL of the local stack comes without contrib modules. Nothing below needs this one: gen_random_uuid()
-- is PostgreSQL's own since version 13.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') THEN
        CREATE EXTENSION IF NOT EXISTS pgcrypto;
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS users (
    id                   UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    username             VARCHAR NOT NULL UNIQUE,
    tos_version_accepted INTEGER NOT NULL DEFAULT 1,
    tos_accepted_at      TIMESTAMPTZ,
    country_of_residence VARCHAR(2),
    year_of_birth        INTEGER,
    is_test_account      BOOLEAN NOT NULL DEFAULT FALSE,
    created_at           TIMESTAMPTZ DEFAULT NOW(),
    CONSTRAINT chk_users_tos_version_nonnegative CHECK (tos_version_accepted >= 1),
    CONSTRAINT chk_users_year_of_birth_range CHECK (
        year_of_birth IS NULL
        OR (year_of_birth >= 1900 AND year_of_birth <= EXTRACT(YEAR FROM CURRENT_DATE))
    )
);
CREATE INDEX IF NOT EXISTS idx_users_username ON users (username);

-- One hot image's row is updated thousands of times a second. Pages half filled, and no index on `views`, let
-- PostgreSQL keep each new row version on its page (HOT update), so indexes are not touched at all.
CREATE TABLE IF NOT EXISTS images (
    id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    UUID NOT NULL REFERENCES users (id),
    s3_url     VARCHAR NOT NULL,
    source     VARCHAR(32) NOT NULL DEFAULT 'user_upload',
    caption    TEXT,
    category   TEXT,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    deleted_at TIMESTAMPTZ,
    views      BIGINT DEFAULT 0,
    CONSTRAINT chk_images_source CHECK (source IN ('user_upload', 'synthetic', 'import'))
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS idx_images_user_id ON images (user_id);
CREATE INDEX IF NOT EXISTS idx_images_created_at ON images (created_at);
CREATE INDEX IF NOT EXISTS idx_images_deleted_at ON images (deleted_at);

CREATE TABLE IF NOT EXISTS comments (
    id                  UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    image_id            UUID NOT NULL REFERENCES images (id),
    user_id             UUID NOT NULL REFERENCES users (id),
    content             TEXT NOT NULL,
    moderator_hidden    BOOLEAN NOT NULL DEFAULT FALSE,
    moderator_action_id UUID,
    actor_eligible      BOOLEAN NOT NULL DEFAULT TRUE,
    deleted_at          TIMESTAMPTZ,
    created_at          TIMESTAMPTZ DEFAULT NOW()
);
CREATE INDEX IF NOT EXISTS idx_comments_image_id ON comments (image_id);
CREATE INDEX IF NOT EXISTS idx_comments_user_id ON comments (user_id);
CREATE INDEX IF NOT EXISTS idx_comments_created_at ON comments (created_at);
CREATE INDEX IF NOT EXISTS idx_comments_deleted_at ON comments (deleted_at);
-- Each removed decision looks for the actions that name it. Few rows have one, so the index is nearly empty.
CREATE INDEX IF NOT EXISTS idx_comments_moderator_action_id ON comments (moderator_action_id)
    WHERE moderator_action_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS flags (
    id                   UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id              UUID NOT NULL REFERENCES users (id),
    image_id             UUID REFERENCES images (id),
    comment_id           UUID REFERENCES comments (id),
    reason               TEXT NOT NULL,
    moderation_action_id UUID,
    review_status        VARCHAR(20) NOT NULL DEFAULT 'pending',
    actor_eligible       BOOLEAN NOT NULL DEFAULT TRUE,
    resolved_at          TIMESTAMPTZ,
    created_at           TIMESTAMPTZ DEFAULT NOW(),
    CONSTRAINT chk_flags_target CHECK (image_id IS NOT NULL OR comment_id IS NOT NULL),
    CONSTRAINT chk_flags_review_status CHECK (review_status IN ('pending', 'confirmed', 'rejected'))
);
CREATE INDEX IF NOT EXISTS idx_flags_user_id ON flags (user_id);
CREATE INDEX IF NOT EXISTS idx_flags_image_id ON flags (image_id);
CREATE INDEX IF NOT EXISTS idx_flags_comment_id ON flags (comment_id);
CREATE INDEX IF NOT EXISTS idx_flags_created_at ON flags (created_at);
CREATE INDEX IF NOT EXISTS idx_flags_review_status ON flags (review_status);
CREATE INDEX IF NOT EXISTS idx_flags_moderation_action_id ON flags (moderation_action_id)
    WHERE moderation_action_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS image_milestones (
    id              UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    image_id        UUID NOT NULL REFERENCES images (id),
    milestone_type  VARCHAR,
    milestone_value INTEGER,
    reached_at      TIMESTAMPTZ,
    CONSTRAINT uq_image_milestones UNIQUE (image_id, milestone_type, milestone_value)
);
CREATE INDEX IF NOT EXISTS idx_image_milestones_image_id ON image_milestones (image_id);

-- Uploads that ended between picture and row, because their process was killed: an image whose id is here is never
-- inserted, so that its picture can be removed. Rows stay, some bytes for each killed upload; nearly always empty.
CREATE TABLE IF NOT EXISTS abandoned_uploads (
    image_id     UUID PRIMARY KEY,
    abandoned_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

-- Answers to requests with the header Idempotency-Key, each written in the transaction of its row. The same request is
-- answered from here for 24 hours; then an API deletes the answer (docs/decisions/idempotency-keys.md).
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key         VARCHAR(255) PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    status      SMALLINT NOT NULL,
    body        TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE INDEX IF NOT EXISTS idx_idempotency_keys_created_at ON idempotency_keys (created_at);

-- Events wait here between the transaction that wrote their row and the broker's confirmation (transactional
-- outbox). `sequence` is the order of publishing. Rows are deleted once confirmed, so the table is a queue:
-- vacuum early and without pauses, or its dead rows slow the relay's reads.
CREATE TABLE IF NOT EXISTS event_outbox (
    sequence     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     UUID NOT NULL UNIQUE,
    topic        VARCHAR NOT NULL,
    message_key  VARCHAR NOT NULL,
    payload      JSONB NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    published_at TIMESTAMPTZ
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX IF NOT EXISTS idx_event_outbox_unpublished ON event_outbox (sequence) WHERE published_at IS NULL;
-- The age of the oldest event that is still to be published: the aggregation asks for it however long the queue is.
CREATE INDEX IF NOT EXISTS idx_event_outbox_unpublished_created ON event_outbox (created_at)
    WHERE published_at IS NULL;

-- The database's own id, one row. Marks in the buckets name it, so that a wrong or restored database removes no picture;
-- `sweeps` counts the searches for pictures without a row (docs/decisions/owner-marks.md).
CREATE TABLE IF NOT EXISTS installation (
    id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    sweeps     BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_installation_one ON installation ((TRUE));
INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Erasures of persons and images (docs/governance.md). The ids stay only until an erasure is complete, so that a later run
-- can finish an interrupted one; afterwards a digest of the id, times and names of models are left.
CREATE TABLE IF NOT EXISTS erasures (
    id             UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    subject_type   VARCHAR(10) NOT NULL,
    subject_digest VARCHAR(64) NOT NULL,
    subject_id     UUID,
    image_ids      UUID[] NOT NULL DEFAULT '{}',
    row_ids        UUID[] NOT NULL DEFAULT '{}',
    models         TEXT[] NOT NULL DEFAULT '{}',
    created_at     TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    completed_at   TIMESTAMPTZ,
    CONSTRAINT chk_erasures_subject_type CHECK (subject_type IN ('user', 'image')),
    CONSTRAINT chk_erasures_ids_until_complete CHECK (
        CASE WHEN completed_at IS NULL THEN subject_id IS NOT NULL
             ELSE subject_id IS NULL AND image_ids = '{}' AND row_ids = '{}' END
    )
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_erasures_open ON erasures (subject_type, subject_digest)
    WHERE completed_at IS NULL;
