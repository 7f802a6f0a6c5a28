"""A real server with TLS: certificates are renewed, and each mode does what it says."""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CR

from flask_mysqlpool import Pool
from flask_mysqlpool import PoolTimeout
from flask_mysqlpool.diagnostics.server_info import query_server
from flask_mysqlpool.testing import PrivateServer

from ..support.certificates import make_certificate
from ..support.pools import settings_for
from ..support.queries import execute
from ..support.tcp_proxy import TCPProxy
from ..support.waiting import wait_until


class TLSServer:
    """A MariaDB with a certificate, and the file of what its clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.ca = folder / "ca.pem"
        self.renew()
        self.trust()
        options = [f"--ssl-cert={self.cert}", f"--ssl-key={self.key}"]
        self.mariadb = PrivateServer(options=options)

    def renew(self) -> None:
        """Give the server a certificate that nobody trusts yet."""
        self._made += 1
        folder = self._folder / str(self._made)
        folder.mkdir()
        made = make_certificate(folder)
        for new, place in ((made.cert, self.cert), (made.key, self.key)):
            new.chmod(0o644)  # the server may run as another user
            os.replace(new, place)
        if self._made > 1:
            with self.mariadb.connect() as connection:
                connection.cursor().execute("FLUSH SSL")

    def trust(self) -> None:
        """Replace the file of authorities, as a deployment does."""
        new = self.ca.with_suffix(".new")
        shutil.copy(self.cert, new)
        os.replace(new, self.ca)


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TLSServer]:
    folder = Path(tempfile.mkdtemp(prefix="tls-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        server = TLSServer(folder)
        with server.mariadb:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def trusted(tls_server: TLSServer) -> TLSServer:
    tls_server.trust()
    return tls_server


def pool_for(server: TLSServer, **settings: t.Any) -> Pool:
    return Pool(settings_for(server.mariadb.url("bank"), timeout=10, **settings))


def cipher(pool: Pool) -> str:
    """Return the cipher of a new connection, empty without TLS."""
    with pool.connection() as db, db.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchall()[0][1])


@pytest.mark.parametrize(
    ("settings", "encrypted"),
    [
        ({"ssl_mode": "DISABLED"}, False),
        ({}, True),
        ({"ssl_mode": "PREFERRED"}, True),
        ({"ssl_mode": "REQUIRED"}, True),
        ({"ssl": {}}, True),
        ({"ssl_mode": "VERIFY_CA", "ssl_ca": "ca"}, True),
        ({"ssl_mode": "VERIFY_IDENTITY", "ssl_ca": "ca"}, True),
    ],
    ids=str,
)
def test_mode_encrypts(
    settings: dict[str, t.Any], encrypted: bool, trusted: TLSServer
) -> None:
    mode = "REQUIRED" if "ssl" in settings else "PREFERRED"
    given = settings | ({"ssl_ca": trusted.ca} if "ssl_ca" in settings else {})
    pool = pool_for(trusted, **given)
    assert bool(cipher(pool)) is encrypted
    seen = query_server(pool.settings)
    assert bool(seen.tls) is encrypted
    assert seen.tls_mode == settings.get("ssl_mode", mode)
    pool.close()


def test_certificate_of_nobody_is_no_outage(trusted: TLSServer) -> None:
    pool = pool_for(trusted, ssl_verify_identity=True)  # the system does not know it
    with pytest.raises(pymysql.err.OperationalError) as raised:
        pool.connection()
    assert not isinstance(raised.value, PoolTimeout)
    assert raised.value.args[0] == CR.CR_SSL_CONNECTION_ERROR
    assert pool.outage is None
    pool.close()


def test_pool_outlives_the_renewal_of_all_certificates(trusted: TLSServer) -> None:
    """Without a restart, a ``recycle`` or a pause of the circuit breaker."""
    pool = pool_for(trusted, ssl_verify_identity=True, ssl_ca=trusted.ca)
    with pool.connection() as held:
        trusted.renew()
        with pytest.raises(pymysql.err.OperationalError) as raised:
            pool.connection()
        assert raised.value.args[0] == CR.CR_SSL_CONNECTION_ERROR
        held.ping()
        assert_check_fails(pool)
        trusted.trust()
        assert cipher(pool)
        assert query_server(pool.settings).tls
    pool.close()


def assert_check_fails(pool: Pool) -> None:
    """Check that ``flask pool check`` finds what the workers find."""
    with pytest.raises(pymysql.err.OperationalError, match="self-signed certificate"):
        query_server(pool.settings)


def test_renewed_file_is_used_before_anything_fails(trusted: TLSServer) -> None:
    pool = pool_for(trusted, ssl_verify_identity=True, ssl_ca=trusted.ca)
    assert cipher(pool)
    trusted.renew()
    trusted.trust()
    pool.recycle()
    assert cipher(pool)
    pool.close()


def test_client_certificate_that_the_server_does_not_know_is_no_outage(
    trusted: TLSServer, tmp_path: Path
) -> None:
    """In TLS 1.3 the server says so after the handshake, and closes."""
    cert, key = make_certificate(tmp_path, "swordfish")
    pool = pool_for(trusted, ssl_cert=cert, ssl_key=key, ssl_key_password="swordfish")
    with pytest.raises(pymysql.err.OperationalError) as raised:
        pool.connection()
    code, text = raised.value.args
    assert code == CR.CR_SSL_CONNECTION_ERROR
    assert f"(the TLS mode is REQUIRED, MYSQLPOOL_SSL_CERT is {cert})" in text
    assert pool.outage is None
    pool.close()


def test_server_without_tls_is_refused_where_it_is_required(mysql_url: str) -> None:
    pool = Pool(settings_for(mysql_url, ssl_mode="REQUIRED"))
    with pytest.raises(pymysql.err.OperationalError, match="offers no TLS"):
        pool.connection()
    assert pool.outage is None
    pool.close()


@pytest.mark.parametrize("how", ["bytes", "end"])
def test_what_comes_between_two_statements(tls_server: TLSServer, how: str) -> None:
    with TCPProxy(tls_server.mariadb.url("bank")) as proxy:
        settings = settings_for(proxy.url, ssl_mode="REQUIRED", read_timeout=5)
        with closing(Pool(settings)) as pool, pool.connection() as db:
            assert execute(db, "SELECT 1") == ((1,),)
            session, relayed = db.session, proxy.sessions[0]
            relayed.inject(b"no record of TLS") if how == "bytes" else relayed.end()
            wait_until(lambda: not session.quiet())
            with pytest.raises(pymysql.err.OperationalError) as raised:
                execute(db, "SELECT 2")
            if how == "end":
                assert "the server closed the connection" in str(raised.value)
            assert not db.open
