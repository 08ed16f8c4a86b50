"""The risk scoring service: moderation requests in, decisions out."""
