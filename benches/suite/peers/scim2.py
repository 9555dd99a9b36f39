"""scim2-server behind its ASGI application, over the storage in memory that it brings, for `uvicorn scim2:app`.

Its own command serves wsgiref, one connection a request: uvicorn is the faster way that its pages describe.
"""

import os

from scim2_models import UnauthorizedException
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.utils import load_default_provider

EXPECTED = f"Bearer {os.environ['TOKEN']}"


class Application(ASGIApplication):
    """Accepts one static bearer token."""

    def check_auth(self, request):
        if request.header("Authorization") != EXPECTED:
            raise UnauthorizedException


app = Application(AsyncInMemoryStorage(), load_default_provider())
