from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fv_ray.artifact_store import ArtifactStore
from fv_ray.errors import ArtifactDamaged, InputError
from fv_ray.file_store import FileStore

ID = "file-0a"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "given.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    return path


def test_what_is_put_is_read_by_the_store_of_results(place: str, source: Path) -> None:
    files, results = FileStore.open(place), ArtifactStore.open(place)
    artifact = files.put(ID, source)
    assert files.put(ID, source) == artifact
    assert results.read(artifact) == source.read_bytes()
    assert list(results.orphans(datetime.now(UTC) + timedelta(days=1))) == []
    files.remove(artifact.path)
    files.remove(artifact.path)
    with pytest.raises(ArtifactDamaged):
        results.read(artifact)


def test_other_content_is_another_file(place: str, source: Path) -> None:
    files = FileStore.open(place)
    first = files.put(ID, source)
    source.write_bytes(b'{"a": 2}\n')
    second = files.put(ID, source)
    assert first.path != second.path
    assert ArtifactStore.open(place).read(first) == b'{"a": 1}\n'
    assert list(files.older_than(datetime.now(UTC) + timedelta(days=1))) == sorted([first.path, second.path])
    assert list(files.older_than(datetime.now(UTC) - timedelta(days=1))) == []


@pytest.mark.parametrize("file_id", ["../x", "a/b", "", "A", "x" * 100, ".x"])
def test_an_id_is_no_path(place: str, source: Path, file_id: str) -> None:
    with pytest.raises(InputError):
        FileStore.open(place).put(file_id, source)
