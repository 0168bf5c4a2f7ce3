"""`python -m broker`: run the service on its configured port."""

from broker.main import SERVICE, create_app
from broker.settings import BrokerSettings
from shared.serve import run_module

if __name__ == "__main__":
    run_module(SERVICE, BrokerSettings, create_app, port_setting="BROKER_PORT")
