"""Results and their flags are read as PyMySQL reads them."""

from __future__ import annotations

import io
import struct
import typing as t

import pymysql
import pytest
from pymysql.cursors import DictCursor
from pymysql.cursors import SSCursor

from flask_mysqlpool.driver import results
from flask_mysqlpool.driver.session_state import IN_TRANS
from flask_mysqlpool.driver.wire import COM_QUERY

from ..support.driver_connections import fed
from ..support.driver_connections import packet
from ..support.driver_connections import Pieces


def test_flags_of_the_eof_packet_are_kept(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    assert not raw.server_status & IN_TRANS
    raw.query("SELECT n FROM t")
    assert raw.server_status & IN_TRANS
    assert raw.in_transaction
    raw.rollback()
    assert not raw.in_transaction


def test_flags_come_at_the_end_of_unbuffered_rows(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    raw.query("SELECT n FROM t UNION SELECT 2", unbuffered=True)
    assert raw.in_exchange
    result = raw._result
    while result._read_rowdata_packet_unbuffered() is not None:
        pass
    assert not raw.in_exchange
    assert raw.in_transaction


def test_further_results_are_noticed(raw: t.Any) -> None:
    raw.query("SELECT 1; DO 0; SELECT 3")
    for rows in (((1,),), None, ((3,),)):
        assert raw._result.rows == rows
        if raw.in_exchange:
            raw.next_result()
    assert not raw.in_exchange


def test_message_is_that_of_the_server(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT) ENGINE=InnoDB")
    raw.query("INSERT INTO t VALUES (1), (2)")
    assert raw._result.message == b"Records: 2  Duplicates: 0  Warnings: 0"
    raw.query("SET @a = 1")  # with session information behind it
    assert raw._result.message == b""


def test_large_numbers_in_an_ok_packet(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB")
    raw.query("INSERT INTO t VALUES (99999999999)")
    assert raw.query("INSERT INTO t VALUES (NULL)") == 1
    assert raw.insert_id() == 100000000000
    for _ in range(9):
        raw.query("INSERT INTO t (id) SELECT NULL FROM t")
    assert raw.affected_rows() == 512
    assert raw.state.changed


def test_columns_are_taken_apart_once_and_rightly(raw: t.Any) -> None:
    def ask(sql: str, kind: t.Any = DictCursor) -> t.Any:
        with kind(raw) as cursor:
            cursor.execute(sql)
            return [column[:2] for column in cursor.description], cursor.fetchall()

    one = ask("SELECT 1 AS n, 'é' AS s")
    kept = len(raw.columns)
    assert ask("SELECT 1 AS n, 'é' AS s") == one
    assert len(raw.columns) == kept
    assert one[1] == [{"n": 1, "s": "é"}]
    assert ask("SELECT 2.5 AS n, 'è' AS s")[1] == [{"n": pytest.approx(2.5), "s": "è"}]
    raw.set_character_set("latin1")
    assert ask("SELECT 1 AS n, 'é' AS s")[1] == [{"n": 1, "s": "é"}]
    assert ask("SELECT 1 AS n, 'é' AS s", SSCursor)[1] == [(1, "é")]
    for number in range(results.COLUMNS_KEPT + 5):
        ask(f"SELECT 1 AS n{number}")
    assert len(raw.columns) <= results.COLUMNS_KEPT


def test_columns_are_the_same_in_whatever_pieces_they_come(raw: t.Any) -> None:
    raw.send_ahead([(COM_QUERY, "SELECT 1 AS n, 'é' AS s".encode())])
    whole = raw._rfile.peek(1)
    raw.read_ahead()
    seen = set()
    for end in range(len(whole) + 1):
        connection = fed(b"")
        for _ in range(2):  # with columns that are new, and with known ones
            pieces = [piece for piece in (whole[:end], whole[end:]) if piece]
            connection._rfile = io.BufferedReader(Pieces(*pieces))
            connection._next_seq_id = 1
            result = results.TrackedResult(connection)
            result.read()
            seen.add((result.rows, str(result.description)))
            assert connection._rfile.read() == b""
            assert connection._next_seq_id == 7
        connection.abandon()
    assert len(seen) == 1
    assert seen.pop()[0] == ((1, "é"),)


def test_known_columns_are_read_in_one_step(
    raw: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def read() -> t.Any:
        reads.append(1)
        return type(raw)._read_packet(raw)

    monkeypatch.setattr(raw, "_read_packet", read)
    raw.query("SELECT 1 AS a, 2 AS b, 3 AS c")
    # How many columns, those and an end, a row and an end.
    assert len(reads) == 1 + 4 + 2
    reads.clear()
    raw.query("SELECT 4 AS a, 5 AS b, 6 AS c")
    assert raw._result.rows == ((4, 5, 6),)
    assert len(reads) == 1 + 2


def test_columns_of_a_further_result_are_kept_once(raw: t.Any) -> None:
    raw.query("CREATE TABLE t (n INT)")
    raw.query("INSERT INTO t VALUES (1), (2), (3)")
    kept = len(raw.columns)
    for count in (1, 2, 3):  # rows before it number its packets otherwise
        raw.query(f"SELECT n FROM t WHERE n <= {count}; SELECT 'a' AS further")
        raw.next_result()
        assert raw._result.rows == (("a",),)
    assert len(raw.columns) == kept + 2


def test_columns_out_of_order_end_the_connection(raw: t.Any) -> None:
    raw.send_ahead([(COM_QUERY, b"SELECT 1 AS n")])
    whole = raw._rfile.peek(1)
    raw.read_ahead()
    connection = fed(b"")
    connection._rfile = io.BufferedReader(Pieces(whole))
    results.TrackedResult(connection).read()  # from now on they are known
    connection._rfile = io.BufferedReader(Pieces(whole[:3] + b"\x09" + whole[4:]))
    connection._next_seq_id = 9
    with pytest.raises(pymysql.err.OperationalError, match="out of order"):
        results.TrackedResult(connection).read()
    connection.abandon()


def test_error_among_unbuffered_rows_ends_the_exchange(raw: t.Any) -> None:
    raw.query("SELECT 1 UNION SELECT 2", unbuffered=True)
    result = raw._result
    result._read_rowdata_packet_unbuffered()
    error = b"\xff" + struct.pack("<H", 1317) + b"#70100interrupted"
    raw._rfile = io.BytesIO(packet(raw._next_seq_id, error))
    with pytest.raises(pymysql.err.MySQLError):
        result._read_rowdata_packet_unbuffered()
    assert not result.unbuffered_active
    assert not raw.in_exchange
