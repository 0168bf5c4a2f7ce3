"""Logs are one JSON object a line, in a process of their own so that nothing here is reconfigured."""

import json
import subprocess
import sys

PROGRAM = """
import logging
from shared.logs import configure_logging, get_logger, set_request_id
configure_logging("galaksio-test", "info")
set_request_id("abc")
log = get_logger("here")
log.debug("hidden")
log.info("seen", job_id="j1")
logging.getLogger("somebody.else").warning("old %s", "style")
try:
    raise ValueError("why")
except ValueError:
    log.exception("failed")
"""


def test_every_line_is_json_with_service_and_request_id() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["seen", "old style", "failed"]
    assert {line["service"] for line in lines} == {"galaksio-test"}
    assert {line["request_id"] for line in lines} == {"abc"}
    assert (lines[0]["job_id"], lines[0]["level"]) == ("j1", "info")
    assert "ValueError: why" in lines[2]["exception"]
    assert done.stdout == ""
