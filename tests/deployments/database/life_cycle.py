"""All that can happen to videos, in any order, beside a small model of what should come of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployments.database import attempts, retention, videos
from deployments.database.acceptance import accept
from deployments.database.events import events_after
from deployments.database.fair_order import is_of_batch
from deployments.database.records import DERIVED_KEY, Attempt, KeyReused, NewVideo, NotThere, ResultRemoved
from deployments.job_names import workflow_id
from fv_ray.artifact_store import Stage
from tests.deployments.videos import KEEP_S, Database, a_result, a_video, crashed, rows, workflows

FOREVER = 1e15
TENANTS = st.sampled_from(["fox", "owl"])
ENDED = {"completed", "failed"}


@dataclass
class Model:
    """A video as it should be."""

    id: str
    new: NewVideo
    stage: Stage
    results: dict[Stage, str] = field(default_factory=dict)
    state: str = "queued"
    is_waiting: bool = True
    is_asked_to_cancel: bool = False
    is_deleted: bool = False
    progress: int = 0
    error: str | None = None
    key: str | None = None
    num_attempts: dict[Stage, int] = field(default_factory=lambda: {"stage_one": 0, "stage_two": 0})
    open_number: int | None = None
    workflow: int = 1  # the number of the first attempt of the one that will bring it on
    is_delayed: bool = False  # that one

    def free_key(self) -> None:
        if self.key is not None and self.key.startswith(DERIVED_KEY):
            self.key = None

    def fail(self, code: str) -> None:
        self.state, self.error, self.is_waiting, self.open_number = "failed", code, False, None
        self.free_key()

    def go_to(self, stage: Stage) -> None:
        self.stage, self.is_waiting, self.open_number = stage, True, None
        self.workflow, self.is_delayed = self.num_attempts[stage] + 1, False

    def stop(self) -> None:
        if self.state in ENDED:
            return
        if self.open_number is None:
            self.fail("cancelled")
        else:
            self.is_asked_to_cancel = True


@dataclass
class Run:
    """An attempt, and what its stage finds in the store when it looks."""

    attempt: Attempt
    name: str
    found_at: float | None


class LifeCycle(RuleBasedStateMachine):
    """Hypothesis chooses the steps; `make_database` gives a new database to each example."""

    make_database: Callable[[], Database]
    close_database: Callable[[Database], None]

    @initialize()
    def open(self) -> None:
        self.database = type(self).make_database()
        self.models: dict[str, Model] = {}
        self.runs: list[Run] = []
        self.store: dict[str, float] = {}  # work keys and when their records were made
        self.marked: set[str] = set()
        self.now = time.time()
        self.num_workflows = 0

    def teardown(self) -> None:
        if hasattr(self, "database"):
            type(self).close_database(self.database)

    # ---- the ingress

    @rule(
        tenant=TENANTS,
        kind=st.sampled_from(["full", "preview"]),
        key=st.sampled_from([None, "client/1", "client/2"]),
        request_hash=st.sampled_from(["a", "b"]),
        is_of_batch=st.booleans(),
    )
    def accept(self, tenant: str, kind: str, key: str | None, request_hash: str, is_of_batch: bool) -> None:
        asked = {"idempotency_key": key, "request_hash": request_hash, "is_of_batch": is_of_batch}
        self.ask_for(a_video(tenant, kind, **asked))  # type: ignore[arg-type]

    @precondition(lambda self: self.models)
    @rule(data=st.data(), stranger=st.booleans())
    def commit(self, data: st.DataObject, stranger: bool) -> None:
        parent = self.choose(data)
        key = parent.results.get("stage_one", a_result("stage_one").work_key)
        preview = a_result("stage_one").model_copy(update={"work_key": key})
        tenant = {"fox": "owl", "owl": "fox"}[parent.new.tenant] if stranger else parent.new.tenant
        new = a_video(
            tenant, "commit", parent_id=parent.id, preview=preview, idempotency_key=f"{DERIVED_KEY}{parent.id}"
        )
        is_kept = "stage_one" in parent.results and not parent.is_deleted and not stranger
        self.ask_for(new, {"stage_one": key} if is_kept else None)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), key=st.sampled_from([None, "client/1"]))
    def remix(self, data: st.DataObject, key: str | None) -> None:
        parent = self.choose(data)
        kind = "preview" if parent.new.kind == "preview" else "full"
        asked = {"idempotency_key": key, "request_hash": f"remix {parent.id}", "parent_id": parent.id}
        self.ask_for(a_video(parent.new.tenant, kind, **asked))  # type: ignore[arg-type]

    def ask_for(self, new: NewVideo, given: dict[Stage, str] | None = None) -> None:
        same_key = [model for model in self.models.values() if model.new.tenant == new.tenant and model.key is not None]
        first = next((model for model in same_key if model.key == new.idempotency_key), None)
        try:
            got = accept(self.database.engine, self.database.client, new, max_queued=99, max_queued_per_tenant=99)
        except KeyReused:
            assert first is not None
            assert first.new.request_hash != new.request_hash
            return
        except NotThere:
            assert first is None
            assert new.kind == "commit"
            assert given is None
            return
        assert got.is_replay == (first is not None)
        if first is not None:
            assert (got.video.id, first.new.request_hash) == (first.id, new.request_hash)
            return
        assert new.kind != "commit" or given is not None
        self.num_workflows += 1
        stage: Stage = "stage_two" if new.kind == "commit" else "stage_one"
        self.models[got.video.id] = Model(got.video.id, new, stage, dict(given or {}), key=new.idempotency_key)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), deletes=st.booleans())
    def end(self, data: st.DataObject, deletes: bool) -> None:
        model = self.choose(data)
        act = videos.delete if deletes else videos.cancel
        try:
            act(self.database.engine, model.new.tenant, model.id)
        except NotThere:
            assert model.is_deleted
            return
        assert not model.is_deleted
        model.stop()
        if deletes:
            model.is_deleted = True
            model.free_key()

    # ---- the orchestrator

    @precondition(lambda self: self.models)
    @rule(data=st.data(), is_at_its_stage=st.integers(0, 9), name=st.sampled_from("xy"))
    def begin(self, data: st.DataObject, is_at_its_stage: int, name: str) -> None:
        """Also what another orchestrator does when one has crashed: what was open is lost.

        And what a workflow does that has done its part and runs again.
        """
        model = self.choose(data)
        stage: Stage = (
            model.stage if is_at_its_stage else ({"stage_one": "stage_two", "stage_two": "stage_one"})[model.stage]
        )  # type: ignore[assignment]
        number = data.draw(st.sampled_from([model.workflow, 1]))
        attempt = attempts.begin_attempt(self.database.engine, model.id, stage, number)
        if stage != model.stage or model.state in ENDED or number < model.workflow:
            assert attempt is None
        elif model.is_asked_to_cancel:
            assert attempt is None
            model.fail("cancelled")
        else:
            assert attempt is not None
            model.state, model.is_waiting = "in_progress", False
            model.num_attempts[stage] += 1
            model.open_number = model.num_attempts[stage]
            key = a_result(stage, f"{model.new.tenant}{name}").work_key
            self.runs.append(Run(attempt, f"{model.new.tenant}{name}", self.store.get(key)))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def progress(self, data: st.DataObject, percent: int) -> None:
        run, model, is_open = self.choose_run(data)
        shall_stop = attempts.record_progress(self.database.engine, run.attempt, percent, {})
        assert shall_stop == (not is_open or (model is not None and model.is_asked_to_cancel))
        if is_open and model is not None:
            model.progress = max(model.progress, min(percent, 99))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        run, model, is_open = self.choose_run(data)
        key = a_result(run.attempt.stage, run.name).work_key
        made_at = run.found_at if run.found_at is not None else self.store.setdefault(key, self.now)
        result = a_result(run.attempt.stage, run.name, created_at=made_at)
        try:
            attempts.finish_stage(
                self.database.engine, self.database.client, run.attempt, result, "done", keep_s=KEEP_S
            )
        except ResultRemoved:
            assert is_open
            assert key in self.marked or self.store.get(key) != made_at
            return
        if is_open and model is not None:
            assert key not in self.marked
            assert self.store.get(key) == made_at
            self.finished(model, run.attempt.stage, key)

    def finished(self, model: Model, stage: Stage, key: str) -> None:
        model.results[stage] = key
        model.open_number = None
        if model.new.kind != "full" or stage == "stage_two":
            model.state, model.progress = "completed", 100
        elif model.is_asked_to_cancel:
            model.fail("cancelled")
        else:
            model.go_to("stage_two")
            self.num_workflows += 1

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), for_good=st.booleans())
    def crash(self, data: st.DataObject, for_good: bool) -> None:
        run, model, is_open = self.choose_run(data)
        if for_good:
            attempts.fail(self.database.engine, run.attempt, "crashed", "crash_loop", "it crashed")
        else:
            crashed(self.database, run.attempt)
        if is_open and model is not None:
            model.open_number = None
            if for_good:
                model.fail("crash_loop")
            else:
                model.workflow, model.is_delayed = run.attempt.number + 1, True
                self.num_workflows += 1

    @precondition(lambda self: any(run.attempt.stage == "stage_two" for run in self.runs))
    @rule(data=st.data())
    def find_damage(self, data: st.DataObject) -> None:
        run, model, is_open = self.choose_run(data)
        if run.attempt.stage == "stage_two" and run.attempt.video.kind == "full":
            attempts.remake_preview(self.database.engine, self.database.client, run.attempt)
            if is_open and model is not None:
                model.go_to("stage_one")
                self.num_workflows += 1

    # ---- the sweeper

    @rule(everything=st.booleans())
    def mark(self, everything: bool) -> None:
        """A sweep that is stopped before it removes anything; without `everything`, before anything has expired."""
        self.now += 2 * KEEP_S if everything else 0
        retention.mark_expired(self.database.engine, self.now if everything else 0)
        self.take_results(everything)

    @rule(forgets=st.booleans())
    def sweep(self, forgets: bool) -> None:
        self.now += 2 * KEEP_S
        removed: set[str] = set()
        record_s = 0 if forgets else FOREVER
        engine, client = self.database.engine, self.database.client
        retention.sweep(engine, client, removed.add, record_s=record_s, usage_s=FOREVER, clock=lambda: self.now)
        self.take_results(everything=True)
        assert removed == self.marked
        for key in self.marked:
            del self.store[key]
        self.marked.clear()
        self.now += 1  # later records are newer than what was removed
        if forgets:
            self.models = {name: model for name, model in self.models.items() if model.state not in ENDED}

    def take_results(self, everything: bool) -> None:
        taken: set[str] = set()
        for model in self.models.values():
            if model.state not in ENDED:
                continue
            for stage, key in list(model.results.items()):
                if everything or model.is_deleted:
                    taken.add(key)
                    del model.results[stage]
                    if stage == "stage_two":
                        model.free_key()
        self.marked |= taken - {key for model in self.models.values() for key in model.results.values()}

    # ---- what always holds

    @invariant()
    def each_video_is_as_it_should_be(self) -> None:
        for model in getattr(self, "models", {}).values():
            try:
                video = videos.read(self.database.engine, model.new.tenant, model.id)
            except NotThere:
                assert model.is_deleted
                continue
            assert not model.is_deleted
            assert (video.state, video.stage, video.is_waiting) == (model.state, model.stage, model.is_waiting)
            assert (video.progress, video.error_code) == (model.progress, model.error)
            assert video.cancel_requested == model.is_asked_to_cancel
            kept = {"stage_one": video.preview, "stage_two": video.video}
            assert {stage: record.work_key for stage, record in kept.items() if record} == model.results
            told = events_after(self.database.engine, model.new.tenant, model.id, 0)
            assert [event.number for event in told] == list(range(1, len(told) + 1))
            assert (told[-1].type in {"video.completed", "video.failed"}) == (model.state in ENDED)

    @invariant()
    def no_result_is_missing_and_every_video_that_has_not_ended_has_its_workflow(self) -> None:
        if not hasattr(self, "database"):
            return
        assert {row.work_key for row in rows(self.database, "results")} <= self.store.keys() - self.marked
        queued = {workflow["workflow_uuid"]: workflow for workflow in workflows(self.database)}
        assert len(queued) == self.num_workflows
        for video in rows(self.database, "videos"):
            assert is_of_batch(video.priority) == self.models[video.id].new.is_of_batch
            if video.state not in ENDED:
                number = self.models[video.id].workflow
                workflow = queued[workflow_id(video.id, video.stage, number)]
                assert (workflow["queue_name"], workflow["priority"]) == (video.stage, video.priority)
                assert workflow["status"] == ("DELAYED" if self.models[video.id].is_delayed else "ENQUEUED")

    def choose(self, data: st.DataObject) -> Model:
        return self.models[data.draw(st.sampled_from(sorted(self.models)))]

    def choose_run(self, data: st.DataObject) -> tuple[Run, Model | None, bool]:
        """Any attempt, mostly a late one; its video, unless it is forgotten; whether it is the open one."""
        run = self.runs[-1 - data.draw(st.integers(0, len(self.runs) - 1))]
        model = self.models.get(run.attempt.video.id)
        is_open = model is not None and model.stage == run.attempt.stage and model.open_number == run.attempt.number
        return run, model, is_open
