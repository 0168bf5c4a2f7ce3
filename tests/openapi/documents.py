"""The OpenAPI documents of the three services, as they are built without starting anything."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from broker.main import create_app as broker
from broker.settings import BrokerSettings
from executor.main import create_app as executor
from executor.settings import ExecutorSettings
from quote.main import create_app as quote
from quote.settings import QuoteSettings
from shared.settings import load_settings

Document = dict[str, Any]
SERVICES = ("quote", "executor", "broker")


def app_of(service: str, home: Path) -> FastAPI:
    settings = {
        "GALAKSIO_HOME": str(home),
        "X402_WALLET_ADDRESS": "0x00000000000000000000000000000000000a11ce",
    }
    if service == "quote":
        return quote(load_settings(QuoteSettings, settings))
    if service == "executor":
        return executor(load_settings(ExecutorSettings, settings))
    return broker(load_settings(BrokerSettings, settings))


def documents_in(home: Path) -> dict[str, Document]:
    return {service: app_of(service, home).openapi() for service in SERVICES}
