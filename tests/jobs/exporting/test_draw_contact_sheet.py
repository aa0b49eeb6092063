"""A run's rows to pages, as a parser reads them."""

import base64
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
from PIL import Image

from fv_ray.blobs import open_blobs
from fv_ray.text_to_video import TextToVideo
from jobs.exporting.draw_contact_sheet import draw_contact_sheet, link_base_of
from jobs.exporting.read_run import read_run
from tests.jobs.exporting.finished_run import PROMPTS, make_run


@pytest.fixture(scope="module")
def run(models: TextToVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return make_run(models, tmp_path_factory.mktemp("test_run"))


class Page(HTMLParser):
    """Tags, with their attributes, and all text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(file.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for name, attrs in self.tags if name == tag and attribute in attrs]


def draw(run: Path, output: Path, rows_per_page: int = 500) -> None:
    base = link_base_of(str(run), str(output))
    draw_contact_sheet(
        read_run(str(run)), open_blobs(str(output)), output.parent, link_base=base, rows_per_page=rows_per_page
    )


def test_every_row_is_shown_with_its_picture_and_its_link(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "a b" / "sheet"
    draw(run, output)
    page = Page(output / "index.html")
    rows = list(read_run(str(run)).rows())
    assert page.values("article", "id") == [f"row-{row.number}" for row in rows]
    made = [row for row in rows if row.clip is not None]
    for href, picture, row in zip(page.values("a", "href"), page.values("img", "src"), made, strict=True):
        assert row.clip is not None
        assert row.thumbnail is not None
        target = Path(unquote(urljoin((output / "index.html").as_uri(), href)).removeprefix("file://"))
        assert target.samefile(run / row.clip.path)
        data = base64.b64decode(picture.removeprefix("data:image/webp;base64,"))
        assert data == (run / row.thumbnail).read_bytes()
        assert Image.open(io.BytesIO(data)).size == (64, 32)
    assert page.values("img", "loading") == ["lazy"] * len(made)
    for told in ("seed 7 · 64x32, 5 frames", "prompt_empty", "the prompt is empty", "same as row 3", "4 made, 1 with"):
        assert told in page.text


def test_what_a_person_wrote_is_text(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "sheet")
    page = Page(tmp_path / "sheet" / "index.html")
    assert PROMPTS[0]["prompt"] in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not {name for _, attributes in page.tags for name in attributes if name.startswith("on")}


def test_long_runs_have_pages(run: Path, tmp_path: Path) -> None:
    draw(run, tmp_path / "sheet", rows_per_page=2)
    pages = [Page(tmp_path / "sheet" / name) for name in ("index.html", "page-0002.html", "page-0003.html")]
    assert [page.values("article", "id") for page in pages] == [["row-0", "row-1"], ["row-2", "row-3"], ["row-4"]]
    links = [href for href in pages[1].values("a", "href") if href.endswith(".html")]
    assert links == ["index.html", "page-0003.html"] * 2
    assert len(list((tmp_path / "sheet").iterdir())) == len(pages)


def test_a_missing_thumbnail_leaves_the_link(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    for picture in copy.rglob("video-*.webp"):
        picture.unlink()
    draw(copy, tmp_path / "sheet")
    page = Page(tmp_path / "sheet" / "index.html")
    assert page.values("img", "src") == []
    assert page.text.count("no thumbnail") == len(page.values("a", "href")) == 4


def test_a_page_elsewhere_has_the_runs_url(tmp_path: Path) -> None:
    assert link_base_of("memory://r/a b", "memory://r/out") == "../a%20b"
    assert link_base_of(str(tmp_path / "a b"), "memory://out") == f"file://{tmp_path}/a%20b"
