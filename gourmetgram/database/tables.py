"""The tables as SQLAlchemy sees them. docker/init_sql creates them; a test compares both."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


def _id() -> Column[Any]:
    return Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid())


def _created_at() -> Column[Any]:
    return Column("created_at", DateTime(timezone=True), server_default=func.now())


def _flag(name: str, default: str) -> Column[Any]:
    return Column(name, Boolean, nullable=False, server_default=text(default))


users = Table(
    "users",
    metadata,
    _id(),
    Column("username", String, nullable=False, unique=True),
    Column("tos_version_accepted", Integer, nullable=False, server_default=text("1")),
    Column("tos_accepted_at", DateTime(timezone=True)),
    Column("country_of_residence", String(2)),
    Column("year_of_birth", Integer),
    _flag("is_test_account", "false"),
    _created_at(),
    CheckConstraint("tos_version_accepted >= 1", name="chk_users_tos_version_nonnegative"),
    CheckConstraint(
        "year_of_birth IS NULL OR (year_of_birth >= 1900 AND year_of_birth <= EXTRACT(YEAR FROM CURRENT_DATE))",
        name="chk_users_year_of_birth_range",
    ),
    Index("idx_users_username", "username"),
)

images = Table(
    "images",
    metadata,
    _id(),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("s3_url", String, nullable=False),
    Column("source", String(32), nullable=False, server_default=text("'user_upload'")),
    Column("caption", Text),
    Column("category", Text),
    _created_at(),
    Column("deleted_at", DateTime(timezone=True)),
    Column("views", BigInteger, server_default=text("0")),
    CheckConstraint("source IN ('user_upload', 'synthetic', 'import')", name="chk_images_source"),
    Index("idx_images_user_id", "user_id"),
    Index("idx_images_created_at", "created_at"),
    Index("idx_images_deleted_at", "deleted_at"),
)

comments = Table(
    "comments",
    metadata,
    _id(),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("content", Text, nullable=False),
    _flag("moderator_hidden", "false"),
    Column(
        "moderator_action_id",
        ForeignKey("moderation.id", name="fk_comments_moderation_action", use_alter=True),
    ),
    _flag("actor_eligible", "true"),
    Column("deleted_at", DateTime(timezone=True)),
    _created_at(),
    Index("idx_comments_image_id", "image_id"),
    Index("idx_comments_user_id", "user_id"),
    Index("idx_comments_created_at", "created_at"),
    Index("idx_comments_deleted_at", "deleted_at"),
    Index(
        "idx_comments_moderator_action_id",
        "moderator_action_id",
        postgresql_where=text("moderator_action_id IS NOT NULL"),
    ),
)

flags = Table(
    "flags",
    metadata,
    _id(),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("image_id", ForeignKey("images.id")),
    Column("comment_id", ForeignKey("comments.id")),
    Column("reason", Text, nullable=False),
    Column("moderation_action_id", ForeignKey("moderation.id", name="fk_flags_moderation_action", use_alter=True)),
    Column("review_status", String(20), nullable=False, server_default=text("'pending'")),
    _flag("actor_eligible", "true"),
    Column("resolved_at", DateTime(timezone=True)),
    _created_at(),
    CheckConstraint("image_id IS NOT NULL OR comment_id IS NOT NULL", name="chk_flags_target"),
    CheckConstraint("review_status IN ('pending', 'confirmed', 'rejected')", name="chk_flags_review_status"),
    Index("idx_flags_user_id", "user_id"),
    Index("idx_flags_image_id", "image_id"),
    Index("idx_flags_comment_id", "comment_id"),
    Index("idx_flags_created_at", "created_at"),
    Index("idx_flags_review_status", "review_status"),
    Index(
        "idx_flags_moderation_action_id",
        "moderation_action_id",
        postgresql_where=text("moderation_action_id IS NOT NULL"),
    ),
)

moderation = Table(
    "moderation",
    metadata,
    _id(),
    Column("inference_request_id", Uuid),
    Column("target_type", String(20), nullable=False),
    Column("target_id", Uuid, nullable=False),
    Column("inference_mode", String(20), nullable=False),
    Column("model_version", String(64)),
    Column("risk_score", Double, nullable=False),
    Column("recommendation", String(10)),
    Column("trigger_type", String(30)),
    Column("policy_version", String(20), nullable=False, server_default=text("'v1'")),
    Column("rationale", Text),
    Column("features", JSONB),
    Column("model_score", Double),
    _created_at(),
    CheckConstraint("target_type IN ('image', 'comment', 'account')", name="chk_moderation_target_type"),
    CheckConstraint("risk_score >= 0 AND risk_score <= 1", name="chk_moderation_risk_score"),
    CheckConstraint(
        "inference_mode IN ('heuristic', 'model', 'heuristic_fallback', 'shadow')",
        name="chk_moderation_inference_mode",
    ),
    CheckConstraint(
        "recommendation IS NULL OR recommendation IN ('SAFE', 'REVIEW', 'FLAG')",
        name="chk_moderation_recommendation",
    ),
    Index("idx_moderation_target", "target_type", "target_id"),
    Index("idx_moderation_risk_score", "risk_score"),
    Index("idx_moderation_inference_request", "inference_request_id", unique=True),
    Index("idx_moderation_recommendation", "recommendation"),
    Index("idx_moderation_created_at", "created_at"),
)

image_milestones = Table(
    "image_milestones",
    metadata,
    _id(),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("milestone_type", String),
    Column("milestone_value", Integer),
    Column("reached_at", DateTime(timezone=True)),
    UniqueConstraint("image_id", "milestone_type", "milestone_value", name="uq_image_milestones"),
    Index("idx_image_milestones_image_id", "image_id"),
)

abandoned_uploads = Table(
    "abandoned_uploads",
    metadata,
    Column("image_id", Uuid, primary_key=True),
    Column("abandoned_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("idx_idempotency_keys_created_at", "created_at"),
)

event_outbox = Table(
    "event_outbox",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, nullable=False, unique=True),
    Column("topic", String, nullable=False),
    Column("message_key", String, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_at", DateTime(timezone=True)),
    Index("idx_event_outbox_unpublished", "sequence", postgresql_where=text("published_at IS NULL")),
    Index("idx_event_outbox_unpublished_created", "created_at", postgresql_where=text("published_at IS NULL")),
)

installation = Table(
    "installation",
    metadata,
    _id(),
    Column("sweeps", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("idx_installation_one", text("(TRUE)"), unique=True),
)

erasures = Table(
    "erasures",
    metadata,
    _id(),
    Column("subject_type", String(10), nullable=False),
    Column("subject_digest", String(64), nullable=False),
    Column("subject_id", Uuid),
    Column("image_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("row_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("completed_at", DateTime(timezone=True)),
    CheckConstraint("subject_type IN ('user', 'image')", name="chk_erasures_subject_type"),
    CheckConstraint(
        "CASE WHEN completed_at IS NULL THEN subject_id IS NOT NULL "
        "ELSE subject_id IS NULL AND image_ids = '{}' AND row_ids = '{}' END",
        name="chk_erasures_ids_until_complete",
    ),
    Index(
        "idx_erasures_open",
        "subject_type",
        "subject_digest",
        unique=True,
        postgresql_where=text("completed_at IS NULL"),
    ),
)
