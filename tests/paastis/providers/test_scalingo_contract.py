from tests.paastis.providers.contract import ProviderContract


class TestScalingo(ProviderContract):
    """The contract, over HTTP, on the simulated Scalingo of `conftest.py`."""
