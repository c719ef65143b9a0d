"""The OpenAPI description: complete, true to the limits, and nothing that schemathesis finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny_run

from bpnet.serve.access import Access, hosts_for
from bpnet.serve.messages import EXAMPLE_ID
from bpnet_features import FeatureStore, FeatureWriter

Serving = Callable[..., AbstractContextManager[httpx.Client]]

TOKEN = "s3cret-Token"


def test_the_description(client: httpx.Client) -> None:
    found = client.get("/openapi.json").json()
    operations = {
        (method, path): operation
        for path, methods in found["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("get", "/health"),
        ("get", "/videos"),
        ("post", "/videos"),
        ("delete", "/videos/{video_id}"),
        ("post", "/localize"),
    }
    for operation in operations.values():
        assert operation["summary"] and operation["tags"]
        for status, response in operation["responses"].items():
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            if int(status) >= 400:
                assert schema == {"$ref": "#/components/schemas/Problem"}
    schemas = found["components"]["schemas"]
    for name, schema in schemas.items():
        for field, value in schema["properties"].items():
            assert value.get("description"), (name, field)
    assert schemas["LocalizeRequest"]["properties"]["queries"]["anyOf"][1]["maxItems"] == 256
    page = client.get("/docs").text
    assert "openapi.json" in page and "https:" not in page
    for name in re.findall(r'"(docs/[^"]+)"', page):
        assert client.get(f"/{name}").status_code == 200, name


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
def test_schemathesis_finds_nothing(
    serving: Serving, store: FeatureStore, tmp_path: Path, token: str | None
) -> None:
    with FeatureWriter(tmp_path / "features.h5", tiny_run.SPEC) as writer:
        clips = np.asarray(store.read("v0")[0])
        writer.add(EXAMPLE_ID, clips, duration_seconds=8.0)  # so that examples are answered
    features = FeatureStore(tmp_path / "features.h5")
    access = Access(token, hosts_for("127.0.0.1", []))
    with serving(features=features, access=access) as client:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
                *("run", f"{client.base_url}/openapi.json".replace("//openapi", "/openapi")),
                *("--max-examples", "100", "--no-color", "--seed", "0"),
                *([] if token is None else ["-H", f"Authorization: Bearer {token}"]),
            ],
            cwd=tmp_path,
            env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert client.get("/health").status_code == 200
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 selected / 5 total" in done.stdout
