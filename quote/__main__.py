"""`python -m quote`: run the service on its configured port."""

from quote.main import SERVICE, create_app
from quote.settings import QuoteSettings
from shared.serve import run_module

if __name__ == "__main__":
    run_module(SERVICE, QuoteSettings, create_app, port_setting="QUOTE_PORT")
