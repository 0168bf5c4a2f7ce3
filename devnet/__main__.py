"""`python -m devnet`: run the devnet on `DEVNET_HOST`:`DEVNET_PORT`."""

from devnet.main import create_app
from devnet.routes import SERVICE
from devnet.settings import DevnetSettings
from shared.serve import run_module

if __name__ == "__main__":
    run_module(SERVICE, DevnetSettings, create_app, port_setting="DEVNET_PORT")
