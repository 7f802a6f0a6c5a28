"""PyMySQL's names that cost no exchange, read through the handle or refused."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from sys import _getframe
from types import MappingProxyType

from pymysql import err
from pymysql.cursors import Cursor

T = t.TypeVar("T")


class Attribute(t.Generic[T]):
    """An attribute of the session, read through the handle; read only.

    :param name: its name there, if it is another.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    def __get__(self, handle: t.Any, owner: t.Any = None) -> T:
        if handle is None:
            return t.cast(T, self)  # of the class, for documentation
        value = getattr(handle.session, self._name)
        if isinstance(value, dict):
            value = MappingProxyType(value)
        return t.cast(T, value)

    def __set__(self, handle: t.Any, value: object) -> t.NoReturn:
        raise AttributeError(f"{self._name} of a pooled connection is read only")


class Refused:
    """A name of PyMySQL's or DBUtils' connection that a pooled one does not have."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @t.overload
    def __get__(self, handle: None, owner: t.Any = None) -> Refused: ...

    @t.overload
    def __get__(self, handle: object, owner: t.Any = None) -> t.NoReturn: ...

    def __get__(self, handle: t.Any, owner: t.Any = None) -> Refused:
        if handle is None:
            return self
        raise AttributeError(f"a pooled connection has no {self._name}: {self._why}")


_CONNECTS = "the pool connects; take another connection with get_db()"
_SECRET = "what it logged in with stays with the pool"  # nosec B105 # a sentence


class SessionAttributes:
    """PyMySQL's attributes and the methods that only read.

    There is no ``__getattr__()``: it would slow down every other attribute, and hide
    typing errors from type checkers.
    """

    __slots__ = ()

    of_context: bool

    autocommit_mode = Attribute[bool | None]()
    bind_address = Attribute[str | None]()
    charset = Attribute[str]()
    client_flag = Attribute[int]()
    collation = Attribute[str | None]()
    connect_timeout = Attribute[float]()
    cursorclass = Attribute[type[Cursor]]()
    db = Attribute[bytes | None]()
    decoders = Attribute[Mapping[int, Callable[[t.Any], t.Any]]]()
    encoders = Attribute[Mapping[type[t.Any], Callable[..., str]]]()
    encoding = Attribute[str]()
    host = Attribute[str]()
    host_info = Attribute[str]()
    init_command = Attribute[str | None]()
    max_allowed_packet = Attribute[int]()
    port = Attribute[int]()
    protocol_version = Attribute[int]()
    server_capabilities = Attribute[int]()
    server_charset = Attribute[str]()
    server_language = Attribute[int]()
    server_status = Attribute[int]()
    server_thread_id = Attribute[tuple[int, ...]]()
    server_version = Attribute[str]()
    sql_mode = Attribute[str | None]()
    ssl = Attribute[bool]()
    unix_socket = Attribute[str | None]()
    use_unicode = Attribute[bool]()
    user = Attribute[bytes | None]()

    affected_rows = Attribute[Callable[[], int]]()
    escape = Attribute[Callable[..., str]]()
    get_autocommit = Attribute[Callable[[], bool]]()
    get_host_info = Attribute[Callable[[], str]]()
    get_proto_info = Attribute[Callable[[], int]]()
    get_server_info = Attribute[Callable[[], str]]()
    insert_id = Attribute[Callable[[], int]]()
    literal = Attribute[Callable[..., str]]("escape")
    thread_id = Attribute[Callable[[], int]]()

    def character_set_name(self) -> str:
        """Return the character set. SQLAlchemy asks each connection that its
        ``creator`` returns for it, before anything else: that of a request is refused.

        :raise pymysql.err.ProgrammingError: SQLAlchemy asks that of a request.
        """
        if self.of_context:
            asking = _getframe(1).f_globals.get("__name__", "")
            if asking.partition(".")[0] == "sqlalchemy":
                raise err.ProgrammingError(
                    "SQLAlchemy would share the connection of get_db() with the app,"
                    " and roll back its changes: create the engine with"
                    " creator=pool.connection and poolclass=NullPool"
                )
        return self.charset

    def escape_string(self, s: str) -> str:
        """Return a text as it stands between the quotes of a string.

        :raise TypeError: it is no text.
        """
        if not isinstance(s, str):
            raise TypeError(f"escape_string() takes a str, not {type(s).__name__}")
        return self.escape(s)[1:-1]

    Warning = Attribute[type[Exception]]()
    Error = Attribute[type[Exception]]()
    InterfaceError = Attribute[type[Exception]]()
    DatabaseError = Attribute[type[Exception]]()
    DataError = Attribute[type[Exception]]()
    OperationalError = Attribute[type[Exception]]()
    IntegrityError = Attribute[type[Exception]]()
    InternalError = Attribute[type[Exception]]()
    ProgrammingError = Attribute[type[Exception]]()
    NotSupportedError = Attribute[type[Exception]]()

    connect = Refused(_CONNECTS)
    ctx = Refused("all connections of a pool share one TLS context")
    password = Refused(_SECRET)
    salt = Refused(_SECRET)
    server_public_key = Refused(_SECRET)
    write_packet = Refused("send statements with query() or a cursor")

    # Of DBUtils' connections.
    cancel = Refused("to end a statement, kill(thread_id()) from another connection")
    dbapi = Refused("the module is pymysql")
    dbapi_connection = Refused("it has the interface of PyMySQL's connection itself")
    threadsafety = Refused("see flask_mysqlpool.threadsafety")

    _result = Attribute[t.Any]()  # PyMySQL's cursors read it for each statement
