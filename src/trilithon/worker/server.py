"""A server: applications, their lifespans, the drivers and the listening sockets, in one process."""

import asyncio
import logging
import math
import platform
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from trilithon.foundation.errors import ConfigError, StartupError
from trilithon.foundation.leaf import COMPILED
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import CREW, Scoreboard, Slot
from trilithon.foundation.tls_options import uses_tls
from trilithon.foundation.version import VERSION
from trilithon.gateway.asgi import AsgiGateway, adapt_asgi2
from trilithon.gateway.asgi_socket import SocketTerms
from trilithon.gateway.lifespan import Lifespan
from trilithon.gateway.mount import Mount, Router, normal_prefix
from trilithon.gateway.wsgi import WsgiGateway
from trilithon.net.arrival import Doorway
from trilithon.net.balance import Balancer
from trilithon.net.binding import SocketFile, bind_all, is_local, socket_files, spell
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.engine import NEWCOMER_S, Engine
from trilithon.net.mailbox import Neighbour
from trilithon.wire.exchange import Exchange, describe
from trilithon.wire.forwarded import Forwarding
from trilithon.wire.hosts import AllowedHosts
from trilithon.wire.terms import Stamp, Terms
from trilithon.worker.crew import Crew, no_call
from trilithon.worker.loader import Loaded, load
from trilithon.worker.logs import open_access_log
from trilithon.worker.looping import LoopDriver
from trilithon.worker.sentinel import Sentinel

log = logging.getLogger("trilithon.error")


class Server:
    """Serves one application, or several mounted ones, inside a running event loop.

    `app` is an application object or a target such as "module:attr"; with mounts in the options it may be None.
    Either await `serve`, or await `start` and later `close`. WSGI applications run on threads of their own, ASGI
    applications on the loop. `listening` are sockets that listen already, which take the place of the options' bind
    addresses. Raises LoadError, BindError and StartupError from `start`.
    """

    def __init__(
        self, app: Any = None, options: Options | None = None, listening: Sequence[socket.socket] | None = None
    ) -> None:
        self.options = options if options is not None else Options()
        self.listening = listening
        self.app = app
        self.loaded: list[tuple[str, Loaded]] = []
        self.lifespans: list[Lifespan] = []
        self.gateways: list[AsgiGateway | WsgiGateway] = []
        self.sockets: list[socket.socket] = []
        self.files: list[SocketFile] = []
        self.addresses: list[tuple[str, int] | str] = []
        self.looping: LoopDriver | None = None
        self.crew: Crew | None = None
        self.store: TlsStore | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.idle_until = 0.0
        self.slot: Slot | None = None
        # Called when all is ready but for the first connection.
        self.on_serving: Callable[[], None] | None = None
        self.balancer: Balancer | None = None
        self.stopping = asyncio.Event()
        self.emptied = asyncio.Event()
        self.cut_off = 0

    def load(self) -> None:
        """Import the applications; raises LoadError. Called by `start` unless it was called before."""
        if self.loaded:
            return
        options = self.options
        places = [("", self.app, options.factory)] if self.app is not None else []
        places += [(normal_prefix(prefix), target, False) for prefix, target in options.mount_table()]
        if not places:
            raise ConfigError("mounts", "", "name an application, or mount one")
        for prefix, target, factory in places:
            loaded = load(target, interface=options.interface, factory=factory, app_dir=options.app_dir)
            self.loaded.append((prefix, loaded))

    def join(self, scoreboard: Scoreboard, slot: int, mailbox: socket.socket) -> None:
        """Share the load with other workers from `start` on; `mailbox` is the reading end of this worker's own."""
        self.slot = scoreboard.slot(slot)
        self.balancer = Balancer(scoreboard, slot, mailbox)

    def add_peer(self, slot: int, writing: socket.socket, reading: socket.socket) -> None:
        """Share the load with the worker in a slot, whose mailbox has these ends."""
        if self.balancer is not None:
            self.balancer.add(Neighbour(slot, writing, reading))

    def remove_peer(self, slot: int) -> None:
        """Share no more with a worker that is gone, and serve what it had not yet taken."""
        if self.balancer is not None:
            self.balancer.remove(slot)

    async def serve(self) -> None:
        """Start, serve until `stop` is called, then close."""
        await self.start()
        await self.serve_on()

    async def serve_on(self) -> None:
        """Serve, after `start`, until `stop` is called, then close."""
        try:
            await self.stopping.wait()
        finally:
            await self.close()

    def retire(self) -> None:
        """Stop as `stop` does, where a successor accepts already: idle connections get time for one more request.

        A request that is on its way while an idle connection closes would be lost. `stop` ends that time.
        """
        self.idle_until = time.monotonic() + self.options.idle_grace_s
        self.begin_stop()

    def stop(self) -> None:
        """Begin the graceful stop; thread-safe and idempotent. Whoever awaits `serve` sees it through."""
        self.idle_until = 0.0
        self.begin_stop()

    def begin_stop(self) -> None:
        """Have the stop begin, or go on where it waits."""
        loop = self.loop
        if loop is None:
            self.stopping.set()
            return
        try:
            loop.call_soon_threadsafe(self.stopping.set)
            loop.call_soon_threadsafe(self.emptied.set)
        except RuntimeError:
            pass  # the loop is closed: there is nothing left to stop

    async def start(self) -> None:
        """Load, bind, run the start-ups and begin to accept."""
        self.loop = asyncio.get_running_loop()
        self.load()
        self.open_certificates()
        try:
            self.bind()
            mounts = [Mount(prefix, self.connect(loaded), self.options.root_path) for prefix, loaded in self.loaded]
            for lifespan in self.lifespans:
                if not await lifespan.start(self.options.lifespan_timeout_s):
                    raise StartupError(lifespan.message or "no reason given")
            self.drive(Router(mounts, self.options.root_path))
        except BaseException:
            await self.end_lifespans()
            self.close_sockets()
            raise

    def open_certificates(self) -> None:
        """Load the certificates, where TLS is asked for; raises ConfigError. Called by `start` unless called before."""
        if self.store is None and uses_tls(self.options):
            self.store = open_store(self.options, ["h2", "http/1.1"] if self.options.http2 else ["http/1.1"])

    def bind(self) -> None:
        """Listen on all addresses, without accepting yet; raises BindError."""
        if self.listening is not None:
            self.sockets = list(self.listening)
            self.addresses = [spell(sock) for sock in self.sockets]
            return
        self.sockets += bind_all(self.options)
        self.addresses = [spell(sock) for sock in self.sockets]
        self.files += socket_files(self.options.addresses())

    def connect(self, loaded: Loaded) -> AsgiGateway | WsgiGateway:
        """Make the gateway of a loaded application."""
        options = self.options
        gateway: AsgiGateway | WsgiGateway
        if loaded.interface == "wsgi":
            gateway = WsgiGateway(
                loaded.app,
                options.threads > 1,
                options.request_buffer_bytes,
                options.environ_table(),
                options.underscore_fields == "refuse",
            )
        else:
            app: Any = adapt_asgi2(loaded.app) if loaded.interface == "asgi2" else loaded.app
            lifespan = Lifespan(app, options.lifespan)
            self.lifespans.append(lifespan)
            origins = frozenset(origin.encode("latin-1") for origin in options.ws_origins)
            sockets = SocketTerms(options.limits().sockets, origins)
            gateway = AsgiGateway(app, self.running_loop(), lifespan.state, sockets)
            gateway.on_leave = self.leave
        self.gateways.append(gateway)
        return gateway

    def running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop the server was started in."""
        if self.loop is None:
            raise StartupError("the server was not started")
        return self.loop

    def drive(self, router: Router) -> None:
        """Make an engine for each interface that is there, connect the drivers and begin to accept."""
        options = self.options
        limits = options.limits()
        read_ahead = max(limits.buffers.read_ahead_bytes, limits.buffers.request_buffer_bytes)
        terms = Terms(limits.message, read_ahead, Stamp(), options.server_header.encode("latin-1"))
        terms.early_hints = options.early_hints
        terms.max_requests = limits.capacity.max_keep_alive_requests
        journal = open_access_log(options)
        asgi = [gateway for gateway in self.gateways if isinstance(gateway, AsgiGateway)]
        wsgi = [gateway for gateway in self.gateways if isinstance(gateway, WsgiGateway)]
        loop_engine = Engine(terms, limits, journal) if asgi else None
        crew_engine = Engine(terms, limits, journal) if wsgi else None
        for engine in (loop_engine, crew_engine):
            if engine is not None:
                engine.slot = self.slot
                self.set_checks(engine)
        if crew_engine is not None:
            crew_engine.seat = CREW
            threads = min(options.threads, limits.capacity.max_requests or options.threads)
            self.crew = Crew(crew_engine, threads, router, loop_engine)
            self.crew.on_drained = self.drained_elsewhere
            for gateway in wsgi:
                gateway.start = self.crew.enqueue
        if loop_engine is not None:
            self.looping = LoopDriver(loop_engine, self.running_loop(), router, crew_engine)
            self.looping.on_drained = self.loop_drained
            for call_gateway in asgi:
                if limits.capacity.max_requests:
                    call_gateway.on_ended = self.looping.call_ended
            self.looping.start()
        # Connections of HTTP/2, whose streams may belong to several applications, live on the loop where there is one;
        # those of HTTP/1 move to where their requests belong.
        first = loop_engine if loop_engine is not None else crew_engine
        if self.on_serving is not None:
            self.on_serving()
        if first is not None:
            first.store = self.store
            if self.balancer is not None:
                self.balancer.threads = self.crew.threads if self.crew is not None and not asgi else 0
                for engine in dict.fromkeys((first, *self.engines())):
                    self.balancer.attend(engine)
            for sock in self.sockets:
                first.listen(sock, self.doorway(sock, terms))
        if self.looping is not None:
            self.looping.turn()
        if self.crew is not None:
            self.crew.start()
            Sentinel(self.crew).start()

    def set_checks(self, engine: Engine) -> None:
        """Let an engine see to what every request goes through before it is routed."""
        options = self.options
        if options.forwarded != "none":
            engine.forwarding = Forwarding(
                options.trusted(), options.forwarded, options.forwarded_host, options.forwarded_prefix
            )
        if options.allowed_hosts:
            engine.hosts = AllowedHosts(options.allowed_hosts)

    def doorway(self, sock: socket.socket, terms: Terms) -> Doorway:
        """Return what a listening socket asks of its clients before their first request."""
        options = self.options
        doorway = Doorway(terms, options.limits())
        doorway.websockets = any(isinstance(gateway, AsgiGateway) for gateway in self.gateways)
        doorway.store = self.store
        doorway.tls_s = options.tls_handshake_timeout_s
        if options.proxy_protocol != "off":
            doorway.proxy_version = options.proxy_protocol
            doorway.proxy_s = options.proxy_timeout_s
        if options.proxy_protocol != "off" or options.forwarded != "none":
            doorway.trusted = options.trusted()
        doorway.prior_knowledge = options.http2 and (options.h2c == "on" or (options.h2c == "auto" and is_local(sock)))
        return doorway

    def loop_drained(self) -> None:
        """Take note that the loop has nothing left; the crew may have waited for that."""
        self.emptied.set()
        if self.crew is not None:
            self.crew.engine.post(no_call)

    def leave(self, error: BaseException) -> None:
        """Stop because the application raised SystemExit or KeyboardInterrupt."""
        self.stopping.set()

    def drained_elsewhere(self) -> None:
        """Take note, from a crew thread, that the crew has nothing left."""
        try:
            self.running_loop().call_soon_threadsafe(self.emptied.set)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    async def close(self) -> None:
        """Stop accepting, let what runs finish within the graceful time-out, end the lifespans; idempotent."""
        self.stopping.set()
        now = time.monotonic()
        deadline = now + self.options.graceful_timeout_s
        streams_until = min(deadline, now + self.options.stream_grace_s)
        for gateway in self.gateways:
            if isinstance(gateway, AsgiGateway):
                gateway.stopping = True
                gateway.on_ended = self.call_ended
        is_patient = now < self.idle_until
        stop_at = self.idle_until if is_patient else now + NEWCOMER_S
        for driver in self.drivers():
            if is_patient:
                driver.part()
            else:
                driver.stop()
        while not self.is_drained():
            self.emptied.clear()
            if self.is_drained():
                break
            now = time.monotonic()
            if now >= (min(stop_at, self.idle_until) if is_patient else stop_at):
                is_patient = False
                stop_at = now + NEWCOMER_S
                for driver in self.drivers():
                    driver.stop()
                continue
            if now >= streams_until:
                streams_until = math.inf
                for gateway in self.gateways:
                    gateway.end_streams()
            if now >= deadline:
                await self.cut()
                break
            next_step = min(deadline, streams_until, stop_at)
            try:
                await asyncio.wait_for(self.emptied.wait(), next_step - now)
            except TimeoutError:
                continue
        if self.looping is not None:
            self.looping.close()
            self.looping.engine.close()
            self.looping = None
        if self.crew is not None:
            self.crew.engine.close()
            self.crew = None
        await self.end_lifespans()
        self.close_sockets()

    def call_ended(self) -> None:
        """Take note, while the server stops, that a call has ended."""
        if self.looping is not None and self.looping.waiting:
            self.looping.call_ended()
        self.emptied.set()

    def is_serving(self) -> bool:
        """Tell whether the start-up is over."""
        return self.looping is not None or self.crew is not None

    def is_drained(self) -> bool:
        """Tell whether nothing runs any more."""
        if self.crew is not None and not self.crew.drained.is_set():
            return False
        if self.looping is None:
            return True
        return self.looping.engine.is_empty() and not any(
            gateway.running for gateway in self.gateways if isinstance(gateway, AsgiGateway)
        )

    async def cut(self) -> None:
        """Cut off what the graceful time-out left: each request is logged with its age."""
        now = time.monotonic()
        exchanges = [
            exchange
            for engine in self.engines()
            for connection in list(engine.connections.values())
            for exchange in connection.protocol.open_exchanges()
        ]
        if self.crew is not None:
            exchanges += list(self.crew.running)  # the client of a call may be gone
        for exchange in dict.fromkeys(exchanges):
            self.report(exchange, now)
        tasks = []
        for gateway in self.gateways:
            if isinstance(gateway, AsgiGateway):
                tasks += [call.task for call in gateway.running if call.task is not None]
                gateway.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        if self.crew is not None:
            self.crew.abandon()
            await asyncio.to_thread(self.crew.drained.wait, 2.0)

    def engines(self) -> list[Engine]:
        """Return the engines that are there."""
        return [driver.engine for driver in self.drivers()]

    def drivers(self) -> list[LoopDriver | Crew]:
        """Return the drivers that are there."""
        return [driver for driver in (self.looping, self.crew) if driver is not None]

    def report(self, exchange: Exchange, now: float) -> None:
        """Log a request that is cut off."""
        self.cut_off += 1
        age = now - exchange.opened_at
        log.warning("cut off by the graceful time-out: %s, running for %.1f s", describe(exchange), age)

    async def end_lifespans(self) -> None:
        """Run the shutdowns of what was started, last first."""
        while self.lifespans:
            await self.lifespans.pop().stop(self.options.lifespan_timeout_s)

    def close_sockets(self) -> None:
        """Close what an engine has not closed, and remove the Unix sockets."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()
        for file in self.files:
            file.remove()
        self.files.clear()

    def describe(self) -> str:
        """Return the line that says what serves what and where."""
        build = "compiled" if COMPILED else "pure Python"
        scheme = "https" if self.store is not None else "http"
        places = ", ".join(spell_url(address, scheme) for address in self.addresses)
        apps = ", ".join(f"{prefix or '/'} {loaded.target} ({loaded.interface})" for prefix, loaded in self.loaded)
        return f"trilithon {VERSION} ({build}, Python {platform.python_version()}) serves {apps} on {places}"


def spell_url(address: tuple[str, int] | str, scheme: str) -> str:
    """Return an address as a URL."""
    if isinstance(address, str):
        return address
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}"
