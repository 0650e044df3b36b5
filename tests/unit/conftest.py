"""A company's deployment and what a fake of its project answers, for the tests of the deployment's plan."""

from __future__ import annotations

import pytest
from kit.planning import World, company_deployment

from cli.deploy.data import Deployment


@pytest.fixture(scope="module")
def company() -> Deployment:
    return company_deployment()


@pytest.fixture
def world(company: Deployment) -> World:
    return World(company)
