"""Signatures of metadata.json: only for the holder of a key, only at one address, only for one content."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.errors import PermanentError
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import metadata_document, metadata_text
from gourmetgram.models.signing import SIGNATURE, signed, verify

OLD, NEW, FOREIGN = b"o" * 43, b"n" * 43, b"f" * 43
PLACE = "s3://lake/models/moderation/metadata.json"
DOCUMENT: dict[str, Any] = {
    "version": 3,
    "updated_at": "2026-03-04T00:00:00.000000Z",
    "folder": "versions/3/",
    "sha256": {"model.joblib": "ab" * 32},
    "metrics": {"auc": 0.1 + 0.2, "loss": float("nan")},
}


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """The document as a reader gets it."""
    return metadata_document(metadata_text(document), PLACE)


def test_a_signed_document_is_accepted_after_its_way_through_a_file() -> None:
    verify(stored(signed(DOCUMENT, PLACE, [NEW])), PLACE, [NEW])


def test_order_and_indentation_of_the_file_do_not_matter() -> None:
    document = signed(DOCUMENT, PLACE, [NEW])
    verify(stored(dict(reversed(document.items()))), PLACE, [NEW])


def test_an_older_signature_is_replaced_and_not_signed() -> None:
    twice = signed(signed(DOCUMENT, PLACE, [OLD]), PLACE, [NEW])
    assert twice == signed(DOCUMENT, PLACE, [NEW])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"folder": "versions/2/"},
        {"updated_at": "2026-03-04T00:00:00.000001Z"},
        {"sha256": {"model.joblib": "cd" * 32}},
        {"metrics": {}},
        {"another": 1},
    ],
)
def test_any_change_of_the_content_is_refused(change: dict[str, Any]) -> None:
    document = {**signed(DOCUMENT, PLACE, [NEW]), **change}
    with pytest.raises(ArtifactError, match="changed after it was signed, or was signed for another place"):
        verify(stored(document), PLACE, [NEW])


@pytest.mark.parametrize(
    "place", ["s3://lake/models/moderation/versions/3/metadata.json", "s3://lake/models/other/metadata.json"]
)
def test_a_copy_at_another_address_is_refused(place: str) -> None:
    with pytest.raises(ArtifactError, match="signed for another place"):
        verify(stored(signed(DOCUMENT, PLACE, [NEW])), place, [NEW])


def test_a_signature_of_an_older_key_is_valid_while_the_key_is_in_the_list() -> None:
    document = stored(signed(DOCUMENT, PLACE, [OLD]))
    verify(document, PLACE, [NEW, OLD])
    with pytest.raises(ArtifactError, match=r"not known here\. Publish .* `gourmetgram models sign 3` .* activate 3`"):
        verify(document, PLACE, [NEW])


def test_only_the_first_key_signs() -> None:
    verify(stored(signed(DOCUMENT, PLACE, [NEW, OLD])), PLACE, [NEW])


@pytest.mark.parametrize(
    "signature", [None, "", [], {}, {"value": None}, {"value": 1}, {"value": ["a"]}, {"algorithm": "none"}]
)
def test_a_document_without_a_signature_is_refused_with_the_remedy(signature: object) -> None:
    with pytest.raises(ArtifactError, match=r"has no signature\. Publish .* `gourmetgram models sign 3`"):
        verify({**DOCUMENT, SIGNATURE: signature}, PLACE, [NEW])
    with pytest.raises(ArtifactError, match="models sign VERSION"):
        verify({}, PLACE, [NEW])


@given(st.text(), st.text())
def test_no_invented_signature_is_accepted(key: str, value: str) -> None:
    with pytest.raises(ArtifactError):
        verify({**DOCUMENT, SIGNATURE: {"key": key, "value": value}}, PLACE, [NEW])


def test_a_forged_algorithm_changes_nothing() -> None:
    document = {**DOCUMENT, SIGNATURE: {"algorithm": "none", "key": "", "value": ""}}
    with pytest.raises(ArtifactError):
        verify(document, PLACE, [NEW])
    foreign = signed(DOCUMENT, PLACE, [FOREIGN])
    with pytest.raises(ArtifactError):
        verify(foreign, PLACE, [NEW, OLD])


def test_without_a_key_nothing_is_signed_and_nothing_accepted() -> None:
    with pytest.raises(PermanentError, match="no signing key is set"):
        signed(DOCUMENT, PLACE, [])
    with pytest.raises(ArtifactError, match="no signing key is set"):
        verify(signed(DOCUMENT, PLACE, [NEW]), PLACE, [])
