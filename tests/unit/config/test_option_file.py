"""An option file gives what nothing else gives. It is read once, when the app starts,
but for its password.
"""

from __future__ import annotations

import ssl
import typing as t
from pathlib import Path

import pytest

from flask_mysqlpool import ConfigError
from flask_mysqlpool.config.settings import Settings
from flask_mysqlpool.config.tls import MODES

MakeFile = t.Callable[[str], str]


@pytest.fixture
def my_cnf(tmp_path: Path) -> MakeFile:
    def make(text: str) -> str:
        path = tmp_path / "my.cnf"
        path.write_text(text)
        return str(path)

    return make


def read(path: str, **keys: t.Any) -> Settings:
    config = {f"MYSQLPOOL_{name.upper()}": value for name, value in keys.items()}
    return Settings.from_config({"MYSQLPOOL_READ_DEFAULT_FILE": path, **config})[
        "default"
    ]


def test_file_gives_what_is_not_set(my_cnf: MakeFile) -> None:
    path = my_cnf(
        "# comment\n[client]\nhost = db\nport=3307\nuser = 'app'\npassword = a#b\n"
        "database=bank\nquick\ndefault_character_set=latin1\nbind-address=127.0.0.1\n"
        "ssl-cipher=x\n!includedir /etc/mysql/conf.d/\nmax_allowed_packet=16M\n"
    )
    settings = read(path)
    assert (settings.host, settings.port, settings.user) == ("db", 3307, "app")
    assert (settings.database, settings.charset) == ("bank", "latin1")
    assert settings.bind_address == "127.0.0.1"
    assert settings.ssl == {"cipher": "x"}
    assert callable(settings.password) and settings.password() == "a#b"
    arguments = settings.driver_arguments()
    assert arguments["host"] == "db" and "password" not in arguments
    assert not {"read_default_file", "read_default_group"} & arguments.keys()


def test_all_else_wins_over_the_file(my_cnf: MakeFile) -> None:
    path = my_cnf("[client]\nhost=db\nport=3307\nuser=app\npassword=x\ndatabase=bank")
    settings = read(path, url="mysql://other@h/", password="", database="")
    assert (settings.host, settings.port, settings.user) == ("h", 3307, "other")
    assert (settings.password, settings.database) == ("", "")


@pytest.mark.parametrize(
    ("lines", "keys", "server"),
    [
        ("socket=/s\nport=3307", {}, (None, None, "/s")),
        ("socket=/s\nhost=localhost", {}, (None, None, "/s")),
        ("socket=/s\nhost=db", {}, ("db", None, None)),
        ("socket=/s", {"host": "db"}, ("db", None, None)),
        ("socket=/s", {"url": "mysql://db"}, ("db", None, None)),
        ("host=db\nport=1", {"unix_socket": "/s"}, (None, None, "/s")),
    ],
)
def test_server_that_is_named_is_the_one(
    my_cnf: MakeFile, lines: str, keys: dict[str, str], server: tuple[t.Any, ...]
) -> None:
    settings = read(my_cnf(f"[client]\n{lines}\n"), **keys)
    assert (settings.host, settings.port, settings.unix_socket) == server


def test_tls_of_the_file_is_never_lost_silently(my_cnf: MakeFile) -> None:
    path = my_cnf(f"[client]\nhost=db\nssl-ca={__file__}\n")
    assert read(path).ssl == {"ca": __file__}
    assert read(path, ssl_disabled=True).ssl is None
    both = read(path, ssl={"check_hostname": False}).ssl
    assert both == {"ca": __file__, "check_hostname": False}
    context = ssl.create_default_context()
    assert read(path, ssl=context).ssl is context
    with pytest.raises(ConfigError, match="MYSQLPOOL_SSL_VERIFY_CERT would be lost"):
        read(path, ssl_verify_cert=True)


@pytest.mark.parametrize("option", ["ca", "cert", "key", "password"])
def test_single_tls_key_wins_over_its_option(option: str, my_cnf: MakeFile) -> None:
    path = my_cnf(f"[client]\nssl-{option}=/no/such\n")
    key = "ssl_key_password" if option == "password" else f"ssl_{option}"
    more = {"ssl_cert": __file__} if option == "key" else {}
    settings = read(path, **{key: __file__}, **more)
    assert settings.ssl is None
    assert getattr(settings, key) == __file__


def test_option_that_no_tls_key_sets_is_not_lost_silently(my_cnf: MakeFile) -> None:
    path = my_cnf(f"[client]\nssl-ca={__file__}\nssl-cipher=AES\n")
    with pytest.raises(ConfigError, match="so MYSQLPOOL_SSL_CA would be lost"):
        read(path, ssl_ca=__file__)


@pytest.mark.parametrize(
    "keys",
    [
        *({"ssl_disabled": True}, {"ssl_mode": "DISABLED"}, {"ssl_mode": "PREFERRED"}),
        *({"ssl": ssl.create_default_context()}, {"ssl": {"ca": __file__}}),
    ],
)
def test_tls_option_without_a_use_is_not_looked_at(
    keys: dict[str, t.Any], my_cnf: MakeFile
) -> None:
    path = my_cnf("[client]\nssl-ca=/no/such\n")
    assert read(path, **keys).ssl == keys.get("ssl")


@pytest.mark.parametrize("mode", MODES)
def test_mode_of_the_file_counts_where_no_key_gives_one(
    mode: str, my_cnf: MakeFile
) -> None:
    path = my_cnf(f"[client]\nssl_mode = {mode.lower()}\n")
    assert read(path).ssl_mode == mode
    assert read(path, ssl_mode="REQUIRED").ssl_mode == "REQUIRED"
    assert read(path, ssl_disabled=True).ssl_mode is None


@pytest.mark.parametrize(
    ("mode", "keys"),
    [
        ("VERIFY_IDENTITY", {"ssl_verify_cert": False}),
        ("VERIFY_IDENTITY", {"ssl_verify_identity": False}),
        ("REQUIRED", {"ssl_verify_cert": True}),
        ("REQUIRED", {"ssl_ca": __file__}),
        ("DISABLED", {"ssl": {}}),
    ],
)
def test_key_that_contradicts_the_mode_of_the_file_is_refused(
    mode: str, keys: dict[str, t.Any], my_cnf: MakeFile
) -> None:
    path = my_cnf(f"[client]\nssl-mode={mode}\n")
    said = f"ssl_mode in the file of MYSQLPOOL_READ_DEFAULT_FILE is {mode}, but "
    with pytest.raises(ConfigError, match=f"^{said}"):
        read(path, **keys)


def test_unknown_mode_of_the_file_is_refused(my_cnf: MakeFile) -> None:
    with pytest.raises(ConfigError, match="must be one of DISABLED, PREFERRED"):
        read(my_cnf("[client]\nssl-mode=VERIFY\n"))


def test_group_is_the_one_that_is_named(my_cnf: MakeFile) -> None:
    path = my_cnf("[client]\nhost=a\n[reports]\nhost=b\n")
    assert read(path, read_default_group="reports").host == "b"
    with pytest.raises(ConfigError, match=r"_FILE has no group \[client2\]$"):
        read(path, read_default_group="client2")


def test_bind_may_have_a_group_of_its_own(my_cnf: MakeFile) -> None:
    path = my_cnf("[client]\nhost=a\n[reports]\nhost=b\nuser=r\n")
    config = {
        "MYSQLPOOL_READ_DEFAULT_FILE": path,
        "MYSQLPOOL_BINDS": {"reports": {"read_default_group": "reports"}},
    }
    settings = Settings.from_config(config)
    assert (settings["default"].host, settings["reports"].host) == ("a", "b")
    assert settings["reports"].user == "r"


def test_groups_and_options_may_repeat(my_cnf: MakeFile) -> None:
    path = my_cnf("[client]\nhost=a\nhost=b\n[client]\nuser=app\n")
    assert (read(path).host, read(path).user) == ("b", "app")


def test_indented_line_is_an_option_of_its_own(my_cnf: MakeFile) -> None:
    path = my_cnf("\ufeff[client]\n  user=app\n    password=x\n  host=db\n")
    settings = read(path)
    assert (settings.user, settings.host) == ("app", "db")
    assert callable(settings.password) and settings.password() == "x"


def test_password_is_read_at_each_connect(my_cnf: MakeFile) -> None:
    password = read(my_cnf("[client]\npassword=old")).password
    assert callable(password) and password() == "old"
    my_cnf("[client]\npassword=new")
    assert password() == "new"
    my_cnf("[client]\n")
    assert password() == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host=db", "needs a group such as [client] above its line 1"),
        ("\n[client\nhost=db", "needs a group such as [client] above its line 2"),
        ("[client]\n\n=db", "is no option file: see its line 3"),
        ("", "has no group [client]"),
        ("[client]\nport=many", "port in the file of MYSQLPOOL_READ_DEFAULT_FILE mu"),
        ("[client]\nport=0", "must be a whole number from 1 to 65535"),
        ("[client]\nhost=a,b", "host in the file of MYSQLPOOL_READ_DEFAULT_FILE mus"),
        ("[client]\ndefault-character-set=auto", "a character set that PyMySQL and"),
    ],
)
def test_wrong_file_is_refused_when_the_app_starts(
    my_cnf: MakeFile, text: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(my_cnf(text))
    assert "the file of MYSQLPOOL_READ_DEFAULT_FILE" in str(caught.value)
    assert said in str(caught.value)


def test_file_that_went_away_is_named(my_cnf: MakeFile, tmp_path: Path) -> None:
    password = read(my_cnf("[client]\npassword=x")).password
    (tmp_path / "my.cnf").unlink()
    with pytest.raises(ConfigError, match=r"_FILE cannot be read: No such file"):
        assert callable(password) and password()
