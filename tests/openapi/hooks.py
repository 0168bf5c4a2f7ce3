"""What schemathesis cannot make up: a cache with its token, stored content, the operator's token.

Read from the environment; where nothing is given, requests stay as they were made.
"""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Name what is there instead of what is not."""
    if "cacheId" in case.path_parameters and "FUZZ_CACHE" in os.environ:
        case.path_parameters["cacheId"] = os.environ["FUZZ_CACHE"]
        case.headers["Authorization"] = f"Bearer {os.environ['FUZZ_CACHE_TOKEN']}"
    if "cid" in case.path_parameters and "FUZZ_CID" in os.environ:
        case.path_parameters["cid"] = os.environ["FUZZ_CID"]
    if case.path.startswith("/payments") and "FUZZ_OPERATOR" in os.environ:
        case.headers["Authorization"] = f"Bearer {os.environ['FUZZ_OPERATOR']}"
