-- Decisions of the risk scoring service, and the links of moderators' actions to them.

CREATE TABLE IF NOT EXISTS moderation (
    id                   UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    inference_request_id UUID,
    target_type          VARCHAR(20) NOT NULL,
    target_id            UUID NOT NULL,
    inference_mode       VARCHAR(20) NOT NULL,
    model_version        VARCHAR(64),
    risk_score           FLOAT NOT NULL,
    recommendation       VARCHAR(10),
    trigger_type         VARCHAR(30),
    policy_version       VARCHAR(20) NOT NULL DEFAULT 'v1',
    rationale            TEXT,
    features             JSONB,
    model_score          FLOAT,
    created_at           TIMESTAMPTZ DEFAULT NOW(),
    CONSTRAINT chk_moderation_target_type CHECK (target_type IN ('image', 'comment', 'account')),
    CONSTRAINT chk_moderation_risk_score CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT chk_moderation_inference_mode CHECK (
        inference_mode IN ('heuristic', 'model', 'heuristic_fallback', 'shadow')
    ),
    CONSTRAINT chk_moderation_recommendation CHECK (
        recommendation IS NULL OR recommendation IN ('SAFE', 'REVIEW', 'FLAG')
    )
);
CREATE INDEX IF NOT EXISTS idx_moderation_target ON moderation (target_type, target_id);
CREATE INDEX IF NOT EXISTS idx_moderation_risk_score ON moderation (risk_score);
CREATE UNIQUE INDEX IF NOT EXISTS idx_moderation_inference_request ON moderation (inference_request_id);
CREATE INDEX IF NOT EXISTS idx_moderation_recommendation ON moderation (recommendation);
CREATE INDEX IF NOT EXISTS idx_moderation_created_at ON moderation (created_at);

-- ADD CONSTRAINT has no IF NOT EXISTS.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'fk_comments_moderation_action') THEN
        ALTER TABLE comments ADD CONSTRAINT fk_comments_moderation_action
            FOREIGN KEY (moderator_action_id) REFERENCES moderation (id);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'fk_flags_moderation_action') THEN
        ALTER TABLE flags ADD CONSTRAINT fk_flags_moderation_action
            FOREIGN KEY (moderation_action_id) REFERENCES moderation (id);
    END IF;
END
$$;

CREATE OR REPLACE VIEW moderation_decisions AS
SELECT
    target_id AS image_id,
    inference_mode,
    risk_score AS moderation_probability,
    recommendation,
    trigger_type,
    created_at
FROM moderation
WHERE target_type = 'image';

-- The tables above are those of this revision: a new database begins there.
DO $$
BEGIN
    IF to_regclass('alembic_version') IS NOT NULL THEN
        INSERT INTO alembic_version SELECT '0004' WHERE NOT EXISTS (SELECT FROM alembic_version);
    END IF;
END
$$;
