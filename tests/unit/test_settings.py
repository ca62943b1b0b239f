"""A stack that forgets a setting fails at its first call, with the name of the variable."""

from dataclasses import dataclass
from typing import Any

import pytest

from imagelake import settings
from imagelake.errors import SettingsError
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable


@pytest.fixture
def kind() -> type:
    """Settings nobody has loaded yet: `load` remembers what it has read."""

    @dataclass(frozen=True)
    class Settings:
        raw_bucket: str
        retention_days: int
        blur_faces: bool

    return Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RAW_BUCKET": "raw", "RETENTION_DAYS": "7", "BLUR_FACES": "false"}.items():
        monkeypatch.setenv(name, value)


def test_reads_each_field_as_its_type(kind: type) -> None:
    assert settings.load(kind) == kind(raw_bucket="raw", retention_days=7, blur_faces=False)


def test_reads_the_environment_once(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings.load(kind)
    monkeypatch.setenv("RETENTION_DAYS", "8")

    assert settings.load(kind) is first


@pytest.mark.parametrize("variable", ["RAW_BUCKET", "RETENTION_DAYS", "BLUR_FACES"])
def test_names_the_variable_that_is_missing(kind: type, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable)

    with pytest.raises(SettingsError, match=f"^{variable} is not set$"):
        settings.load(kind)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("RETENTION_DAYS", "a week"), ("RETENTION_DAYS", ""), ("BLUR_FACES", "False"), ("BLUR_FACES", "1")],
)
def test_rejects_a_value_of_another_type(kind: type, variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(SettingsError, match=f"^{variable} must be"):
        settings.load(kind)


def test_can_be_loaded_again_once_the_missing_variable_is_set(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAW_BUCKET")
    with pytest.raises(SettingsError):
        settings.load(kind)
    monkeypatch.setenv("RAW_BUCKET", "raw")

    assert settings.load(kind).raw_bucket == "raw"


def test_makes_value_objects_of_text_and_reads_what_has_several_fields_by_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True)
    class Use:
        raw_bucket: Bucket
        catalog: CatalogTable

    for name, value in {"CATALOG_DATABASE": "db", "CATALOG_TABLE": "images", "LAKE_BUCKET": "lake"}.items():
        monkeypatch.setenv(name, value)

    assert settings.load(Use) == Use(Bucket("raw"), CatalogTable("db", "images", Bucket("lake")))


def test_names_the_variable_that_a_part_of_several_fields_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_DATABASE", "db")

    with pytest.raises(SettingsError, match=r"^CATALOG_TABLE is not set$"):
        settings.load(CatalogTable)
