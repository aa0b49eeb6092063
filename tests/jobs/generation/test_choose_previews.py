import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fv_ray.text_to_video import TextToVideo
from jobs.generation.check_rows import Asking, Row
from jobs.generation.choose_previews import choose_previews
from tests.jobs.exporting.finished_run import PROMPTS, make_run

FOX, OTHER = str(PROMPTS[1]["id"]), str(PROMPTS[0]["id"])
CAPTION = "A small fox sits in the grass and looks up."


def test_a_video_has_its_previews_enhanced_prompt_unless_it_is_given_another(
    models: TextToVideo, tmp_path: Path
) -> None:
    run, table = make_run(models, tmp_path, "previews", {FOX: CAPTION}), tmp_path / "chosen.jsonl"

    def chosen(**fields: str) -> Row:
        table.write_text(json.dumps(fields))
        (row,) = choose_previews(str(run), str(table), Asking(), models.checkpoint, frozenset())
        assert row.request is not None
        return row

    same = chosen(id=FOX)
    assert same.request is not None
    assert same.request.prompt == CAPTION
    assert same.enhancement is not None
    told = (same.enhancement.prompt, same.enhancement.enhanced_prompt, same.enhancement.motion, same.enhancement.notes)
    assert told == (PROMPTS[1]["prompt"], CAPTION, "low", ("a",))
    edited = chosen(id=FOX, prompt="a blue fox")
    assert edited.request is not None
    assert (edited.request.prompt, edited.enhancement) == ("a blue fox", None)
    assert edited.preview_key == same.preview_key
    assert chosen(id=OTHER).enhancement is None


def test_previews_that_nobody_chose_are_not_looked_at(models: TextToVideo, tmp_path: Path) -> None:
    run, table = make_run(models, tmp_path, "previews"), tmp_path / "chosen.csv"
    (part,) = (run / "manifest" / "v0001").iterdir()
    rows = pq.read_table(part)
    not_understood = ["{}" if row_id == OTHER else None for row_id in rows["id"].to_pylist()]
    place = rows.schema.get_field_index("enhancement")
    pq.write_table(rows.set_column(place, "enhancement", pa.array(not_understood)), part)
    table.write_text(f"id\n{FOX}\n")
    (row,) = choose_previews(str(run), str(table), Asking(), models.checkpoint, frozenset())
    assert (row.id, row.problem) == (FOX, None)
