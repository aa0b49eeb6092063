"""The batches: run, list, look at, cancel."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from deployments.database.batch_records import NewBatch, TooManyBatches
from deployments.database.batches import cancel_batch, create, list_batches, read_batch
from deployments.database.records import NotThere
from deployments.http.batch_bodies import BatchBody, PageQuery
from deployments.http.batch_objects import BatchList, BatchObject, batch_object
from deployments.http.errors import ApiError, retry_after, unknown_after
from deployments.http.forms import read_body
from deployments.http.new_videos import client_key
from deployments.http.openapi import BATCHES, LISTS, READS, BatchId, IdempotencyKey, json_body
from deployments.http.service import TENANT, TheService

router = APIRouter(tags=["batches"])

RETRY_S = 60.0
"""After which a client may ask for another batch."""


async def _batch_body(request: Request) -> BatchBody:
    return await read_body(request, BatchBody)


@router.post("/v1/batches", summary="Run a batch", responses=BATCHES, openapi_extra=json_body(BatchBody))
def create_(
    service: TheService, body: Annotated[BatchBody, Depends(_batch_body)], key: IdempotencyKey = None
) -> BatchObject:
    """Each row of its input becomes a video that waits behind all others. It cannot be lost when this returns."""
    keep = body.output_expires_after
    new = NewBatch(
        tenant=TENANT,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        window_s=3_600.0 * int(body.completion_window.removesuffix("h")),
        output_keep_s=int(service.config.retention.file_s) if keep is None else keep.seconds,
        metadata=body.metadata,
        idempotency_key=None if key is None else client_key(key),
        request_hash=hashlib.sha256(json.dumps(body.model_dump(), sort_keys=True).encode()).hexdigest(),
    )
    try:
        return batch_object(
            create(service.engine, service.client, new, max_open=service.config.batches.max_open_batches)
        )
    except NotThere:
        message = f"there is no file {body.input_file_id} of purpose batch; upload one"
        raise ApiError(400, "invalid_value", message, param="input_file_id") from None
    except TooManyBatches as error:
        message = f"{error.num_open} batches have not ended; wait for one of them, or cancel it"
        raise ApiError(429, "rate_limit_exceeded", message, headers=retry_after(RETRY_S)) from None


@router.get("/v1/batches", summary="List batches", responses=LISTS)
def list_(service: TheService, query: Annotated[PageQuery, Query()]) -> BatchList:
    """The newest first."""
    try:
        page = list_batches(service.engine, TENANT, after=query.after, limit=query.limit)
    except NotThere:
        raise unknown_after(query.after) from None
    data = [batch_object(batch) for batch in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return BatchList(data=data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/v1/batches/{batch_id}", summary="Look at a batch", responses=READS)
def retrieve(service: TheService, batch_id: BatchId) -> BatchObject:
    """Its state and counts."""
    return batch_object(read_batch(service.engine, TENANT, batch_id))


@router.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch", responses=READS)
def cancel(service: TheService, batch_id: BatchId) -> BatchObject:
    """No further rows are made; what is done is in its output file. One that has ended stays as it is."""
    return batch_object(cancel_batch(service.engine, TENANT, batch_id))
