"""Where the tests of the journal keep runs: an SQLite file, and a PostgreSQL server of their own."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.journal import Journal

USERS = ("postgres", "nobody")
"""Who the server runs as where the tests run as root, which it refuses."""
PORTS = 4096
"""Of which a server gets one: the highest below those that the system hands out."""
TRIES = 20


@dataclass(slots=True)
class Server:
    """A PostgreSQL server in a temporary folder. url: of a database that is made for each test."""

    bin: Path
    home: Path
    port: int
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers, at most half a minute."""
        assert self.up(), (self.home / "log").read_text()

    @property
    def down(self) -> bool:
        """Whether it was stopped, or ended by itself."""
        return self.process is None or self.process.poll() is not None

    def up(self) -> bool:
        """Start it; False where it ended instead of answering, as where its port is taken."""
        options = ["-D", str(self.home / "data"), "-p", str(self.port), "-k", str(self.home), "-c", "fsync=off"]
        command = [str(self.bin / "postgres"), *options, "-c", "listen_addresses=127.0.0.1"]
        log = (self.home / "log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.home, user=self.user)
        deadline = time.monotonic() + 30
        while self.sql("SHOW data_directory", check=False).stdout.strip() != str(self.home / "data"):
            assert time.monotonic() < deadline, (self.home / "log").read_text()
            if self.down:
                return False
            time.sleep(0.1)
        return True

    def sql(self, statement: str, check: bool = True, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        """Run a statement as the superuser."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "podium", "-d", database]
        command = [str(self.bin / "psql"), *where, "-X", "-A", "-t", "-c", statement]
        environment = {**os.environ, "PGPASSWORD": "sesame", "PGCONNECT_TIMEOUT": "5"}
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=30, env=environment)

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: immediate shutdown, the sessions' processes included
            self.process.wait(30)
            self.process = None

    def database(self, name: str) -> str:
        """The URL of a new database."""
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://podium:sesame@127.0.0.1:{self.port}/{name}"


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    places = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((place for place in places if (place / "psql").exists()), None)


def lacking(request: pytest.FixtureRequest, what: str, *, fatal: bool = True) -> None:
    """Skip with a line that nobody overlooks; on CI, fail where that is fatal."""
    line = f"NOT TESTED, because this machine lacks it: {what}"
    if fatal and os.environ.get("CI") == "true":
        pytest.fail(line)
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr)
    pytest.skip(line)


@contextmanager
def running(place: Path) -> Generator[Server]:
    """A server of a database that is made for it."""
    home = Path(tempfile.mkdtemp(prefix="podium-pg-"))
    user = None
    if os.getuid() == 0:
        import pwd

        user = next(name for name in USERS if name in {each.pw_name for each in pwd.getpwall()})
        shutil.chown(home, user)
    (home / "password").write_text("sesame")
    (home / "password").chmod(0o644)
    server = Server(place, home, 0, user)
    try:
        made = ["-D", str(home / "data"), "-U", "podium", "-A", "scram-sha-256", "--no-sync", "--encoding=UTF8"]
        command = [str(place / "initdb"), *made, f"--pwfile={home / 'password'}", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd=home, user=user, timeout=100)
        for _ in range(TRIES):
            server.port = quiet_port()
            if server.up():
                break
        else:
            raise AssertionError((home / "log").read_text())
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def quiet_port() -> int:
    """A port that the system gives to no connection, so that it stays free while its server is down.

    Whether it is free at all shows when the server starts.
    """
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(given.read_text().split()[0]) if given.exists() else 49152
    return random.SystemRandom().randrange(max(1024, lowest - PORTS), max(1025, lowest))


@pytest.fixture(scope="session")
def postgres_bin(request: pytest.FixtureRequest) -> Path:
    """Where PostgreSQL's programs are."""
    place = binaries()
    if place is None or find_spec("psycopg") is None:
        lacking(request, "PostgreSQL and its driver (apt-get install postgresql; pip install 'podium[postgres]')")
    assert place is not None
    return place


@pytest.fixture(scope="session")
def server(postgres_bin: Path) -> Generator[Server]:
    with running(postgres_bin) as server:
        yield server


@pytest.fixture(scope="session")
def victim(postgres_bin: Path) -> Generator[Server]:
    with running(postgres_bin) as server:
        yield server


@pytest.fixture
def doomed_server(victim: Server) -> Generator[Server]:
    """A server to ill-treat. However a test leaves it, the next one finds it up."""
    yield victim
    if victim.down:
        victim.start()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "podium-test", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        lacking(request, "the right to mount a small file system (root has it)", fatal=False)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=10)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    server: Server = request.getfixturevalue("server")
    return server.database(f"test_{time.time_ns()}")


@pytest.fixture
def journal(url: str) -> Generator[Journal]:
    journal = Journal(url)
    yield journal
    journal.close()
