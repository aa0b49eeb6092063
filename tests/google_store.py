"""GCS on a free loopback port, one request at a time: an emulator, with the precondition that it leaves out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import HTTPServer
from typing import Any

import gcsfs
import pytest
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage


class _Taken(Exception):
    pass


class _Objects(Storage):  # type: ignore[misc]  # it has no types
    must_be_new = False
    """Whether the request at hand may only create, as `ifGenerationMatch=0` asks."""

    def create_file(self, bucket_name: str, file_name: str, *content: Any) -> None:
        if self.must_be_new and file_name in self.objects.get(bucket_name, {}):
            raise _Taken
        super().create_file(bucket_name, file_name, *content)


class _Handler(RequestHandler):  # type: ignore[misc]
    def do_POST(self) -> None:  # noqa: N802
        if "/moveTo/" in self.path:  # what is not implemented here is not asked for twice: gcsfs copies then
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self.storage.must_be_new = "ifGenerationMatch=0" in self.path
        try:
            super().do_POST()
        except _Taken:
            self.send_error(HTTPStatus.PRECONDITION_FAILED)


@contextmanager
def google_store() -> Iterator[None]:
    """A GCS with a bucket named "bucket", which gcsfs finds by its environment."""
    objects = _Objects(use_memory_fs=True)
    objects.create_bucket("bucket", {"name": "bucket"})
    server = HTTPServer(("127.0.0.1", 0), partial(_Handler, objects))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield
        gcsfs.GCSFileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()
