"""What the OpenAPI documents say, without asking any service."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.http import HEALTH_PATHS
from shared.openapi import operation_id, operations
from tests.openapi.documents import SERVICES, Document, app_of, documents_in

PAID = ("/run", "/execute", "/store", "/cache", "/cache/{cacheId}/topup")
EVERY_SERVICE = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    return documents_in(tmp_path_factory.mktemp("documents"))


def answers(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`(operation id, status, answer)` of all operations."""
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            yield operation["operationId"], status, answer


def parameters(operation: dict[str, Any], place: str) -> set[str]:
    return {one["name"] for one in operation["parameters"] if one.get("in") == place}


@EVERY_SERVICE
def test_every_reference_leads_somewhere(documents: dict[str, Document], service: str) -> None:
    document = documents[service]
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


@EVERY_SERVICE
def test_an_operation_is_called_by_its_address_and_by_nothing_else(
    documents: dict[str, Document], service: str
) -> None:
    found = Counter(operation["operationId"] for _, _, operation in operations(documents[service]))
    assert found["get_health_ready"] == 1
    assert set(found.values()) == {1}


def test_an_operation_id_is_made_of_the_address() -> None:
    assert operation_id("get", "/cache/{cacheId}/{key}/ttl") == "get_cache_cacheId_key_ttl"
    assert operation_id("get", "/.well-known/x402") == "get_well_known_x402"
    assert operation_id("get", "/") == "get_root"


@EVERY_SERVICE
def test_every_operation_has_a_sentence_and_a_tag_that_is_explained(
    documents: dict[str, Document], service: str
) -> None:
    document = documents[service]
    explained = {tag["name"] for tag in document["tags"]}
    for _, path, operation in operations(document):
        assert operation["summary"][0].isupper() and len(operation["summary"]) < 160, path
        assert operation["tags"] and set(operation["tags"]) <= explained, path


@EVERY_SERVICE
def test_every_answer_carries_the_request_id(documents: dict[str, Document], service: str) -> None:
    for name, status, answer in answers(documents[service]):
        assert "X-Request-ID" in answer["headers"], (name, status)


@EVERY_SERVICE
def test_what_is_refused_is_said_in_the_one_form_of_all_errors(
    documents: dict[str, Document], service: str
) -> None:
    schemas = documents[service]["components"]["schemas"]
    fields = {"error", "success", "message", "detail", "code", "requestId"}
    for name, status, answer in answers(documents[service]):
        if int(status) >= 400 and "health" not in name:
            told = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert fields <= set(schemas[told]["required"]), (name, status)
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()


@EVERY_SERVICE
def test_every_body_that_is_taken_has_an_example_and_a_limit(
    documents: dict[str, Document], service: str
) -> None:
    schemas = documents[service]["components"]["schemas"]
    for _, path, operation in operations(documents[service]):
        if "requestBody" not in operation:
            continue
        assert "413" in operation["responses"], path
        media = operation["requestBody"]["content"].get("application/json")
        if media is not None:
            schema = media["schema"]
            schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            assert "example" in media or "example" in schema or "examples" in str(schema), path


def test_a_402_is_described_in_both_versions(documents: dict[str, Document]) -> None:
    document = documents["broker"]
    for path in PAID:
        operation = document["paths"][path]["post"]
        asked = operation["responses"]["402"]
        assert asked["headers"]["PAYMENT-REQUIRED"]["required"] is True
        assert set(asked["content"]) == {"application/json", "text/html"}
        assert {"X-PAYMENT", "PAYMENT-SIGNATURE", "x-wallet"} <= parameters(operation, "header")
        assert "PAYMENT-RESPONSE" in operation["responses"]["200"]["headers"]
        assert operation["responses"]["202"]["headers"]["Location"]["required"] is True
    schemas = document["components"]["schemas"]
    assert {"x402Version", "accepts"} <= set(schemas["PaymentRequiredBody"]["required"])
    assert "maxAmountRequired" in schemas["PaymentRequirement"]["required"]


def test_who_has_to_wait_is_told_for_how_long(documents: dict[str, Document]) -> None:
    for name, status, answer in answers(documents["broker"]):
        if status in ("429", "503") and "health" not in name:
            assert "Retry-After" in answer["headers"], (name, status)


def test_the_public_door_refuses_too_many_requests_everywhere_but_at_health(
    documents: dict[str, Document],
) -> None:
    for _, path, operation in operations(documents["broker"]):
        assert ("429" in operation["responses"]) is (path not in HEALTH_PATHS), path


@pytest.mark.parametrize("service", ["quote", "executor"])
def test_an_internal_service_wants_its_token_everywhere_but_at_health(
    documents: dict[str, Document], service: str
) -> None:
    document = documents[service]
    for _, path, operation in operations(document):
        closed = path not in HEALTH_PATHS
        assert ({"401", "403"} <= operation["responses"].keys()) is closed, path
        assert ("security" in operation) is closed, path
    assert document["components"]["securitySchemes"]["InternalToken"]["scheme"] == "bearer"


def test_a_cache_and_an_account_want_tokens_of_their_own(documents: dict[str, Document]) -> None:
    document = documents["broker"]
    assert document["paths"]["/cache/{cacheId}/{key}"]["get"]["security"] == [{"CacheToken": []}]
    assert document["paths"]["/payments"]["get"]["security"] == [{"HTTPBearer": []}]
    assert {"CacheToken", "HTTPBearer"} == document["components"]["securitySchemes"].keys()


@pytest.mark.parametrize("service", ["executor", "broker"])
def test_content_is_served_in_ranges_and_known_by_its_tag(
    documents: dict[str, Document], service: str
) -> None:
    operation = documents[service]["paths"]["/files/{cid}"]["get"]
    assert {"200", "206", "304", "400", "404", "410", "416", "503"} <= operation["responses"].keys()
    assert {"Range", "If-Range", "If-None-Match"} <= parameters(operation, "header")
    assert operation["responses"]["206"]["headers"]["Content-Range"]["required"] is True
    assert "ETag" in operation["responses"]["304"]["headers"]


def test_a_422_is_declared_only_where_fields_are_read(documents: dict[str, Document]) -> None:
    paths = documents["broker"]["paths"]
    assert "422" in paths["/auth/nonce"]["post"]["responses"]
    assert "422" in paths["/payments"]["get"]["responses"]
    for path in ("/status/{job_id}", "/payments/{payment_id}", "/files/{cid}"):
        assert "422" not in paths[path]["get"]["responses"], path


def test_a_store_may_be_a_form_with_a_file(documents: dict[str, Document]) -> None:
    content = documents["broker"]["paths"]["/store"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert form["properties"]["file"]["format"] == "binary"
    assert {"permanent", "ttl"} <= form["properties"].keys()


@EVERY_SERVICE
def test_a_document_is_the_same_however_often_it_is_built(
    documents: dict[str, Document], tmp_path: Path, service: str
) -> None:
    """Services in one process share the parts that their routes declare."""
    app = app_of(service, tmp_path)
    assert app.openapi() == documents[service]
    assert app.openapi() is app.openapi()
