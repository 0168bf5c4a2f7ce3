"""`python -m executor`: run the service on its configured port."""

from executor.main import SERVICE, create_app
from executor.settings import ExecutorSettings
from shared.serve import run_module

if __name__ == "__main__":
    run_module(SERVICE, ExecutorSettings, create_app, port_setting="EXECUTOR_PORT")
