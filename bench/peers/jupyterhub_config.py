"""The JupyterHub configuration with a spawner that starts nothing and is ready at once; bench/peers/spawns.py uses it."""

import os

from jupyterhub.spawner import Spawner

c = get_config()  # noqa: F821 - JupyterHub puts it there


class NullSpawner(Spawner):
    """A spawner that starts no server: every server is the one that runs already."""

    started = False

    async def start(self):  # noqa: D102
        self.started = True
        return "127.0.0.1", int(os.environ["PEER_ANSWERS"])

    async def poll(self):  # noqa: D102
        return None if self.started else 0

    async def stop(self, now=False):  # noqa: ARG002, D102
        self.started = False


c.JupyterHub.spawner_class = NullSpawner
c.JupyterHub.cleanup_servers = False  # else it stops a thousand at its end
c.JupyterHub.concurrent_spawn_limit = 100
c.JupyterHub.db_url = f"sqlite:///{os.environ['PEER_FOLDER']}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{os.environ['PEER_FOLDER']}/cookie"
c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['PEER_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['PEER_HUB_PORT']}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.log_level = "WARN"
c.ConfigurableHTTPProxy.command = [os.environ["PEER_PROXY"]]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['PEER_PROXY_PORT']}"
c.ConfigurableHTTPProxy.pid_file = f"{os.environ['PEER_FOLDER']}/proxy.pid"
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["PEER_TOKEN"]}]
c.JupyterHub.load_roles = [{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}]
